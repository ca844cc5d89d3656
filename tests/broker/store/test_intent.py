"""Applied intent on disk."""

from __future__ import annotations

from dataclasses import replace

from ringfence.broker.store import intent
from ringfence.broker.store.document import Document
from ringfence.broker.store.engine import Store
from ringfence.broker.store.intent import Apply, RuleOrigin

ORIGIN = RuleOrigin("a/r", "h1", "f.yaml", 3, "r1", "me", "c1", "allow", "team", "why")


async def test_the_last_apply_is_found_with_its_documents_in_order(store: Store) -> None:
    """Also when an older intent is applied again."""
    texts = [Document("b.yaml", b"1"), Document("a.yaml", b"\xff")]
    await store.run(intent.record, Apply("r1", "me", "c1", 1), texts, [])
    await store.run(intent.record, Apply("r2", "me", "c2", 2), [], [])
    assert await store.run(intent.last) == (Apply("r2", "me", "c2", 2), [])
    await store.run(intent.record, Apply("r1", "you", "c1", 3), texts, [])
    assert await store.run(intent.last) == (Apply("r1", "you", "c1", 3), texts)


async def test_the_newest_origin_of_a_rule_is_found_and_none_is_lost(store: Store) -> None:
    """A rule that moved stands at its new line; one that is gone is known still."""
    other = replace(ORIGIN, hash="h2")
    await store.run(intent.record, Apply("r1", "", "", 1), [], [ORIGIN, other])
    await store.run(intent.record, Apply("r2", "", "", 2), [], [replace(ORIGIN, line=9)])
    assert await store.run(intent.origins) == {("a/r", "h1"): replace(ORIGIN, line=9), ("a/r", "h2"): other}
