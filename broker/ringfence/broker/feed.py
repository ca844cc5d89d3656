"""Keeps entries and revocations in memory at the store's newest revision: the change feed is the only way there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from ringfence.broker.entry import Entry
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.store import changes, revocations
from ringfence.broker.store import entries as stored
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.broker.store.revocations import Held


class Feed:
    """Whoever wrote calls `catch_up` before it answers, so that an acknowledged change is a visible one."""

    def __init__(self, store: Store, registry: Registry, revoked: Revoked | None = None) -> None:
        self.revoked = Revoked() if revoked is None else revoked
        self._store = store
        self._registry = registry
        self._lock = asyncio.Lock()  # keeps two readers from applying the same changes in turn

    async def load(self) -> None:
        """Read everything once."""
        found, revision, held = await self._store.run(_everything)
        # What is revoked first: nobody is to see an entry with an older list of what is refused.
        self.revoked.take(held)
        self._registry.load(found, revision)

    async def catch_up(self) -> None:
        """Apply what was committed since; loads everything again when the feed no longer reaches back that far."""
        async with self._lock:
            news = await self._store.run(_news, self._registry.revision)
            if news is None:
                await self.load()
                return
            found, entries, held = news
            if held is not None:
                self.revoked.take(held)
            self._registry.follow(found, entries)


def _everything(connection: Connection) -> tuple[list[Entry], int, Held]:
    return stored.every(connection), changes.current(connection), revocations.every(connection)


def _news(connection: Connection, revision: int) -> tuple[Sequence[Change], dict[str, Entry], Held | None] | None:
    found = changes.since(connection, revision)
    if found is None:
        return None
    ids = [change.key for change in found if change.kind is ChangeKind.ENTRY]
    is_other = any(change.kind is ChangeKind.REVOKED for change in found)
    held = revocations.every(connection) if is_other else None
    return found, {entry.id: entry for entry in stored.by_id(connection, ids)}, held
