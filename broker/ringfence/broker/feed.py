"""Keeps the registry at the store's newest revision: the change feed is the only way into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from ringfence.broker.entry import Entry
from ringfence.broker.registry import Registry
from ringfence.broker.store import changes
from ringfence.broker.store import entries as stored
from ringfence.broker.store.changes import Change, ChangeKind
from ringfence.broker.store.engine import Store


class Feed:
    """Whoever wrote calls `catch_up` before it answers, so that an acknowledged change is a visible one."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._lock = asyncio.Lock()  # keeps two readers from applying the same changes in turn

    async def load(self) -> None:
        """Read everything once."""
        self._registry.load(*await self._store.run(_everything))

    async def catch_up(self) -> None:
        """Apply what was committed since; loads everything again when the feed no longer reaches back that far."""
        async with self._lock:
            news = await self._store.run(_news, self._registry.revision)
            if news is None:
                await self.load()
            else:
                self._registry.follow(*news)


def _everything(connection: Connection) -> tuple[list[Entry], int]:
    return stored.every(connection), changes.current(connection)


def _news(connection: Connection, revision: int) -> tuple[Sequence[Change], dict[str, Entry]] | None:
    found = changes.since(connection, revision)
    if found is None:
        return None
    ids = [change.key for change in found if change.kind is ChangeKind.ENTRY]
    return found, {entry.id: entry for entry in stored.by_id(connection, ids)}
