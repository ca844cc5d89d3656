"""Keeps what servers hold in memory at the store's newest revision: the change feed is the only way there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Connection

from ringfence.broker.entry import Entry
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.store import changes, revocations
from ringfence.broker.store import entries as stored
from ringfence.broker.store.changes import OF_REGISTRY, Change, ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.broker.store.revocations import Held

Take = Callable[[frozenset[str] | None], Awaitable[None]]


class Feed:
    """Whoever wrote calls `catch_up` before it answers, so that an acknowledged change is a visible one.

    Besides entries and revocations, others follow by `tell`: each reads what changed by itself, which may be newer
    than the change that it hears of, and is told again of anything that it could not take.
    """

    def __init__(self, store: Store, registry: Registry, revoked: Revoked | None = None) -> None:
        self.revision = 0  # that memory is at
        self.revoked = Revoked() if revoked is None else revoked
        self._store = store
        self._registry = registry
        self._followers: dict[ChangeKind, Take] = {}
        self._lock = asyncio.Lock()  # keeps two readers from applying the same changes in turn

    def tell(self, kind: ChangeKind, take: Take) -> None:
        """Have *take* hear the keys that changed, or None when any may have; what it raises, `catch_up` raises."""
        self._followers[kind] = take

    async def load(self) -> None:
        """Read everything once."""
        found, at, held = await self._store.run(_everything)
        # What is revoked first: nobody is to see an entry with an older list of what is refused.
        self.revoked.take(held)
        self._registry.load(found, at[1])
        # The others after that, so that what they read is not older than the revision that they are then said to be at.
        for take in self._followers.values():
            await take(None)
        self.revision = at[0]

    async def catch_up(self) -> None:
        """Apply what was committed since; loads everything again when the feed no longer reaches back that far."""
        async with self._lock:
            news = await self._store.run(_news, self.revision)
            if news is None:
                await self.load()
                return
            found, entries, held = news
            if held is not None:
                self.revoked.take(held)
            await self._tell(found)
            self._registry.follow([change for change in found if change.kind in OF_REGISTRY], entries)
            self.revision = found[-1].revision if found else self.revision

    async def _tell(self, found: Sequence[Change]) -> None:
        keys: defaultdict[ChangeKind, set[str]] = defaultdict(set)
        for change in found:
            keys[change.kind].add(change.key)
        for kind, take in self._followers.items():
            if kind in keys:
                await take(frozenset(keys[kind]))


def _everything(connection: Connection) -> tuple[list[Entry], tuple[int, int], Held]:
    at = changes.current(connection), changes.of_registry(connection)
    return stored.every(connection), at, revocations.every(connection)


def _news(connection: Connection, revision: int) -> tuple[Sequence[Change], dict[str, Entry], Held | None] | None:
    found = changes.since(connection, revision)
    if found is None:
        return None
    ids = [change.key for change in found if change.kind is ChangeKind.ENTRY]
    is_other = any(change.kind is ChangeKind.REVOKED for change in found)
    held = revocations.every(connection) if is_other else None
    return found, {entry.id: entry for entry in stored.by_id(connection, ids)}, held
