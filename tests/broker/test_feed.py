"""What follows the change feed into memory: each change once, in the order of the commits, none lost by a failure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.bell import Bell
from ringfence.broker.feed import Feed
from ringfence.broker.registry import Registry
from ringfence.broker.store import changes, entries
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError
from tests.contract.test_store import entry


class Follower:
    """Notes what it is told, and may refuse."""

    def __init__(self) -> None:
        self.told: list[frozenset[str] | None] = []
        self.fails = False

    async def take(self, keys: frozenset[str] | None) -> None:
        """As a follower of the feed does."""
        if self.fails:
            raise RingfenceError(Kind.UNAVAILABLE, "the database does not answer")
        self.told.append(keys)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    made = await Store.open(tmp_path / "store.sqlite3")
    yield made
    await made.close()


async def loaded(store: Store) -> Feed:
    """A feed that is up to date."""
    feed = Feed(store, Registry(Bell()))
    await feed.load()
    return feed


async def test_followers_are_told_the_keys_of_their_kind_once(store: Store) -> None:
    """One call a catch-up, whatever else changed; none when nothing of theirs did."""
    feed, nodes, servers = await loaded(store), Follower(), Follower()
    feed.tell(ChangeKind.NODE, nodes.take)
    feed.tell(ChangeKind.SERVER, servers.take)
    await store.run(changes.append, [(ChangeKind.NODE, "a"), (ChangeKind.ENTRY, "x"), (ChangeKind.NODE, "b")])
    await feed.catch_up()
    await feed.catch_up()
    assert (nodes.told, servers.told, feed.revision) == ([frozenset({"a", "b"})], [], 3)


async def test_what_a_follower_could_not_take_it_is_told_again(store: Store) -> None:
    """And nobody's memory is ahead of it: entries wait as well."""
    registry, nodes = Registry(Bell()), Follower()
    feed = Feed(store, registry)
    await feed.load()
    feed.tell(ChangeKind.NODE, nodes.take)
    await store.run(entries.create, [entry(1)], 1)
    await store.run(changes.append, [(ChangeKind.NODE, "a")])
    nodes.fails = True
    with pytest.raises(RingfenceError):
        await feed.catch_up()
    assert (len(registry), feed.revision) == (0, 0)
    nodes.fails = False
    await feed.catch_up()
    assert (len(registry), feed.revision, nodes.told) == (1, 2, [frozenset({"a"})])


async def test_who_is_too_far_behind_has_everything_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every follower, since nobody knows what it missed."""
    feed, nodes = await loaded(store), Follower()
    feed.tell(ChangeKind.NODE, nodes.take)
    monkeypatch.setattr(changes, "KEPT", 2)
    for name in "abcd":
        await store.run(changes.append, [(ChangeKind.SERVER, name)])
    await feed.catch_up()
    assert (nodes.told, feed.revision) == ([None], 4)


async def test_servers_that_load_at_different_times_agree_on_the_registrys_revision(store: Store) -> None:
    """An agent that moves from one to the other says it, and is sent nothing that it has."""
    early, late = Registry(Bell()), Registry(Bell())
    first = Feed(store, early)
    await first.load()
    await store.run(entries.create, [entry(1)], 1)
    await store.run(changes.append, [(ChangeKind.NODE, "a")])
    await first.catch_up()
    await Feed(store, late).load()
    assert early.revision == late.revision == 1
