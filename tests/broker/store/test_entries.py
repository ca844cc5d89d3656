"""Entries on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.broker.entry import Entry, any_node, selectors_of
from ringfence.broker.store import changes, entries
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("example.org")


def entry(name: str = "trainer", uid: int = 1000, **fields: object) -> Entry:
    """An entry as an operator or a document asks for it."""
    made = Entry("", SpiffeId(TD, f"/ns/a/sa/{name}"), any_node(TD), selectors_of([f"unix:uid:{uid}"]))
    return replace(made, **fields)  # type: ignore[arg-type]


async def test_creating_the_same_entry_again_changes_nothing(store: Store) -> None:
    """Same id, no new revision."""
    [(first, created)] = await store.run(entries.create, [entry()], 100)
    [(second, unchanged)] = await store.run(entries.create, [entry()], 200)
    assert (created, unchanged) == ("created", "unchanged")
    assert first == second
    assert (first.created_at, first.revision) == (100, 1)
    assert await store.run(changes.current) == 1


async def test_what_is_read_is_what_was_written(store: Store) -> None:
    """Every field survives the disk."""
    wanted = entry(
        x509_ttl=60,
        jwt_ttl=30,
        dns_names=("a.example",),
        hint="web",
        expires_at=4_000_000_000,
        federates_with=(TrustDomain("a.org"), TrustDomain("b.org")),
        admin=True,
        downstream=True,
        store_svid=True,
        jwt_jti=True,
    )
    [(made, _)] = await store.run(entries.create, [wanted], 100)
    assert await store.run(entries.every) == [made]
    assert made.same_as(wanted)


async def test_the_same_registration_with_another_ttl_is_a_conflict(store: Store) -> None:
    """It is refused with the id to delete, and the whole batch with it."""
    [(made, _)] = await store.run(entries.create, [entry()], 100)
    with pytest.raises(RingfenceError, match="another TTL") as caught:
        await store.run(entries.create, [entry("other"), entry(x509_ttl=60)], 100)
    assert caught.value.kind is Kind.CONFLICT
    assert made.id in caught.value.hint
    assert await store.run(entries.every) == [made]


async def test_a_batch_may_hold_the_same_entry_twice(store: Store) -> None:
    """The second is unchanged and has the id of the first."""
    results = await store.run(entries.create, [entry(), entry()], 100)
    assert [action for _, action in results] == ["created", "unchanged"]
    assert results[0][0].id == results[1][0].id


async def test_removing_names_what_was_there(store: Store) -> None:
    """Unknown ids are passed over."""
    [(made, _)] = await store.run(entries.create, [entry()], 100)
    assert await store.run(entries.remove, [made.id, "unknown"]) == [made.id]
    assert await store.run(entries.every) == []


async def test_reconciling_leaves_exactly_what_documents_want(store: Store) -> None:
    """Created, unchanged (same id), configured (same id), pruned; an operator's own entries are not touched."""
    [(own, _)] = await store.run(entries.create, [entry("own")], 1)
    kept, changed, gone = (entry(name, origin=f"a/{name}") for name in ("kept", "changed", "gone"))
    before = {e.origin: e for e, _ in await store.run(entries.reconcile, [kept, changed, gone], 1)}
    new = entry("new", origin="a/new")
    after = await store.run(entries.reconcile, [kept, replace(changed, x509_ttl=60), new, new], 2)
    actions = {e.origin: action for e, action in after}
    assert actions == {"a/kept": "unchanged", "a/changed": "configured", "a/new": "created", "a/gone": "pruned"}
    now = {e.origin: e for e in await store.run(entries.every)}
    assert now.keys() == {"api", "a/kept", "a/changed", "a/new"}
    assert now["api"] == own
    assert now["a/kept"] == before["a/kept"]
    assert (now["a/changed"].id, now["a/changed"].x509_ttl) == (before["a/changed"].id, 60)


async def test_an_update_keeps_id_and_creation_and_gets_a_revision(store: Store) -> None:
    """The same again is unchanged; the identity itself may change."""
    [(made, _)] = await store.run(entries.create, [entry()], 100)
    wanted = replace(entry("other", x509_ttl=60), id=made.id, revision=made.revision)
    [(changed, action)] = await store.run(entries.update, [wanted])
    assert action == "updated"
    assert (changed.id, changed.created_at, changed.revision, changed.x509_ttl) == (made.id, 100, 2, 60)
    assert await store.run(entries.every) == [changed]
    [(again, action)] = await store.run(entries.update, [replace(wanted, revision=0)])
    assert (again, action) == (changed, "unchanged")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"id": "none"}, Kind.NOT_FOUND, "no entry"),
        ({"revision": 77}, Kind.CONFLICT, "meanwhile"),
        ({"spiffe_id": SpiffeId(TD, "/ns/a/sa/second")}, Kind.CONFLICT, "registers the same"),
    ],
)
async def test_an_update_that_would_lose_something_is_refused(
    store: Store, change: dict[str, object], kind: Kind, says: str
) -> None:
    """Gone, changed meanwhile, or the double of another: nothing of the batch is done."""
    [(made, _), (other, _)] = await store.run(entries.create, [entry(), entry("second")], 100)
    fine = replace(other, x509_ttl=60)
    with pytest.raises(RingfenceError, match=says) as caught:
        await store.run(entries.update, [fine, replace(made, **change)])  # type: ignore[arg-type]
    assert caught.value.kind is kind
    assert await store.run(entries.every) == [made, other]


async def test_an_entry_of_the_intent_is_not_updated(store: Store) -> None:
    """Its document is the place."""
    [(made, _)] = await store.run(entries.reconcile, [entry(origin="a/b")], 1)
    with pytest.raises(RingfenceError, match="a/b"):
        await store.run(entries.update, [replace(made, x509_ttl=60)])


async def test_a_file_is_applied_as_it_says(store: Store) -> None:
    """Created, updated (same id), unchanged, and pruned only when asked; what the intent made stays."""
    await store.run(entries.reconcile, [entry("z", origin="a/z")], 1)
    first = {e.name: e for e, _ in await store.run(entries.apply, [entry("a"), entry("b"), entry("c")], 1)}
    wanted = [entry("a"), entry("b", x509_ttl=60), entry("d")]
    dry = await store.run(entries.apply, wanted, 2, prune=True, dry_run=True)
    revision = await store.run(changes.current)
    results = await store.run(entries.apply, wanted, 2, prune=True)
    actions = [(e.spiffe_id.path[-1], action) for e, action in results]
    assert actions == [("a", "unchanged"), ("b", "updated"), ("d", "created"), ("c", "pruned")]
    assert [(e.spiffe_id.path[-1], action) for e, action in dry] == actions
    assert revision == 4  # the dry run wrote nothing
    held = {e.spiffe_id.path[-1]: e for e in await store.run(entries.every)}
    assert held.keys() == {"a", "b", "d", "z"}
    assert held["b"].id == first[held["b"].name].id
    again = await store.run(entries.apply, wanted, 3)
    assert {action for _, action in again} == {"unchanged"}


async def test_what_has_ended_is_removed(store: Store) -> None:
    """At its second, not before; what never ends stays."""
    made = await store.run(entries.create, [entry("a", expires_at=50), entry("b", expires_at=51), entry("c")], 1)
    assert await store.run(entries.remove_ended, 49) == []
    assert await store.run(entries.remove_ended, 50) == [made[0][0].id]
    assert {e.spiffe_id.path[-1] for e in await store.run(entries.every)} == {"b", "c"}
