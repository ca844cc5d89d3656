"""What the server is to be asked for at the next turn, and what it has said no to for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from ringfence.broker.agent.entry import Entry

_REFUSED_FOR = timedelta(seconds=30)  # before an entry that the server refused is asked for again


class Needs:
    """Entries whose SVID is missing. `wake` is set while there may be some."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._entries: dict[str, Entry] = {}
        self._refused: dict[str, datetime] = {}

    def add(self, entry: Entry) -> None:
        """Ask for the SVID of *entry* at the next turn."""
        if entry.id not in self._entries:
            self._entries[entry.id] = entry
            self.wake.set()

    def take(self) -> dict[str, Entry]:
        """All that was added since the last time."""
        taken, self._entries = self._entries, {}
        return taken

    def refuse(self, entry_id: str, now: datetime) -> None:
        """The server will not issue it: it is not missed for a while."""
        self._refused[entry_id] = now + _REFUSED_FOR

    def is_refused(self, entry_id: str, now: datetime) -> bool:
        """Whether the server has said no of late."""
        until = self._refused.get(entry_id)
        return until is not None and now < until

    def issued(self, entry_id: str) -> None:
        """The server does issue it."""
        self._refused.pop(entry_id, None)

    def forget(self, entry_ids: Iterable[str]) -> None:
        """These entries went, or are not what they were."""
        for entry_id in entry_ids:
            self._entries.pop(entry_id, None)
            self._refused.pop(entry_id, None)

    def ids(self) -> set[str]:
        """The entries that something is known of here."""
        return {*self._entries, *self._refused}
