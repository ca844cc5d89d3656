"""The issuance ledger."""

from __future__ import annotations

from ringfence.broker.store import ledger
from ringfence.broker.store.engine import Store
from ringfence.broker.store.ledger import Issuance


def item(serial: str, not_after: int = 100) -> Issuance:
    """One document to be signed."""
    return Issuance(serial, "x509", "spiffe://example.org/a", "entry", "agent", "key", not_after)


async def test_what_was_intended_and_not_recorded_as_issued_is_found(store: Store) -> None:
    """The trace of a crash between signing and recording."""
    await store.run(ledger.intend, [item("a"), item("b")], 1)
    await store.run(ledger.issued, ["a"])
    assert await store.run(ledger.unfinished) == ["b"]
    assert await store.run(ledger.states) == {"a": "issued", "b": "intent"}


async def test_what_has_ended_is_forgotten(store: Store) -> None:
    """Only that."""
    await store.run(ledger.intend, [item("old", 100), item("new", 200)], 1)
    assert await store.run(ledger.prune, 200) == 1
    assert await store.run(ledger.states) == {"new": "intent"}
