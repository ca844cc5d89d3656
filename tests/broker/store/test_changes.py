"""The change feed."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.broker.store import changes
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.broker.store.engine import Store


async def test_revisions_are_gap_free_in_commit_order(store: Store) -> None:
    """Writers that race get neighbouring revisions; none is skipped, none given twice."""
    await asyncio.gather(*(store.run(changes.append, [(ChangeKind.ENTRY, str(i))] * 3) for i in range(10)))
    found = await store.run(changes.since, 0)
    assert found is not None
    assert [change.revision for change in found] == list(range(1, 31))


async def test_a_follower_gets_what_came_after(store: Store) -> None:
    """From its own revision on, in order, and nothing when it is up to date."""
    await store.run(changes.append, [(ChangeKind.ENTRY, "a"), (ChangeKind.REMOVED, "b"), (ChangeKind.INTENT, "c")])
    assert await store.run(changes.since, 1) == (
        Change(2, ChangeKind.REMOVED, "b"),
        Change(3, ChangeKind.INTENT, "c"),
    )
    assert await store.run(changes.since, 3) == ()


async def test_a_follower_too_far_behind_is_told_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, so that it loads everything, instead of a list with a hole."""
    monkeypatch.setattr(changes, "KEPT", 5)
    for i in range(9):
        await store.run(changes.append, [(ChangeKind.ENTRY, str(i))])
    assert await store.run(changes.since, 3) is None
    reached = await store.run(changes.since, 4)
    assert reached is not None
    assert len(reached) == 5


async def test_changes_of_other_things_leave_the_registrys_revision_alone(store: Store) -> None:
    """Agents compare by it: an agent that renews must not have every other one be sent what it has."""
    await store.run(changes.append, [(ChangeKind.ENTRY, "a"), (ChangeKind.NODE, "b")])
    assert await store.run(changes.of_registry) == 1
    await store.run(changes.append, [(ChangeKind.FEDERATION, "b"), (ChangeKind.INTENT, "c"), (ChangeKind.NODE, "b")])
    assert (await store.run(changes.of_registry), await store.run(changes.current)) == (4, 5)
    await store.run(changes.append, [])
    assert await store.run(changes.of_registry) == 4
