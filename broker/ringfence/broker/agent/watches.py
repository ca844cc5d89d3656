"""All open streams: what changed is told to those that it touches, a few in each turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from operator import attrgetter

from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Caller, Callers
from ringfence.broker.agent.entries import Applied
from ringfence.broker.agent.fan_out import show_all
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import NO_IDENTITY, Subject, Watch
from ringfence.broker.attest.launch import Launch
from ringfence.proto.lane import Connection
from ringfence.proto.status import Code, Status

_A_TURN = 128  # streams that are shown a change in one turn of the loop, some milliseconds of work
_GROUP = attrgetter("group")


class Watches:
    """All open streams; tells those that a change touches (cache.Listener)."""

    def __init__(self, cache: Cache, callers: Callers, *, hold: float) -> None:
        self.cache = cache
        self.callers = callers
        self.hold = hold  # seconds to wait for an identity that is not there yet
        self._open: set[Watch] = set()
        self._shown: dict[str, set[Watch]] = {}  # by entry id

    def __len__(self) -> int:
        return len(self._open)

    @property
    def wanted(self) -> frozenset[str]:
        """The facts that entries ask for."""
        return self.cache.book.wanted

    async def of(self, connection: Connection) -> Caller:
        """The attested caller of *connection*."""
        return await self.callers.of(connection)

    @contextmanager
    def open(self, caller: Subject) -> Iterator[Watch]:
        """A watch for as long as the block lasts."""
        watch = Watch(caller, self)
        self._open.add(watch)
        try:
            yield watch
        finally:
            self._open.discard(watch)
            self._forget(watch)

    def rematch(self, watch: Watch) -> None:
        """Find the entries of *watch* anew."""
        self._forget(watch)
        watch.entries = self.cache.matching(watch.caller.selectors)
        watch.revoked = "" if watch.entries else self.cache.revoked_of(watch.caller.selectors)
        for entry in watch.entries:
            self._shown.setdefault(entry.id, set()).add(watch)

    def refusal(self, view: View) -> Status:
        """How a wait ends that was in vain (SPIFFE_Workload_Endpoint.md section 6)."""
        if not self.cache.synced:
            return Status(Code.UNAVAILABLE, "the agent has not heard from its server yet")
        if view.entries and view.waits:
            return Status(Code.UNAVAILABLE, "the identity is registered, and its SVID could not be issued yet")
        return Status(Code.PERMISSION_DENIED, NO_IDENTITY)

    # cache.Listener

    def on_entries(self, applied: Applied, *, facts_changed: bool) -> None:
        """Entries came or went."""
        touched = applied.removed | applied.outdated
        self._touch(
            [
                watch
                for watch in self._open
                if facts_changed
                or any(entry.id in touched for entry in watch.entries)
                or any(entry.selectors <= watch.caller.selectors for entry in applied.upserted)
                or any(entry.id == shown.id for entry in applied.upserted for shown in watch.entries)
            ],
            match=True,
        )

    def on_svids(self, entry_ids: frozenset[str]) -> None:
        """The SVIDs of these entries changed."""
        self._touch([watch for entry_id in entry_ids for watch in self._shown.get(entry_id, ())])

    def on_bundles(self) -> None:
        """A bundle changed."""
        self._touch(list(self._open))

    def on_revoked(self, revoked: frozenset[str], *, lifted: bool) -> None:
        """Identities were revoked; what was lifted may be anybody's who waits or shows something else."""
        self._touch(
            [
                watch
                for watch in self._open
                if lifted or any(str(entry.spiffe_id) in revoked for entry in watch.entries)
            ],
            match=True,
        )

    def watched(self) -> frozenset[str]:
        """The entries that some open stream shows."""
        return frozenset(self._shown)

    # callers.Callers' listener

    def on_pods(self) -> None:
        """A pod changed."""
        self._touch(
            [watch for watch in self._open if not isinstance(watch.caller, Caller) or watch.caller.outdated], match=True
        )

    # launch.LaunchAttestor's listener

    def on_launch(self, launch: Launch) -> None:
        """A launcher came or went."""
        self._touch([watch for watch in self._open if watch.caller.may_be_of(launch)], launch=True)

    def _touch(self, watches: list[Watch], *, match: bool = False, launch: bool = False) -> None:
        for watch in watches:
            watch.mark(match=match, launch=launch)
        # By caller: it is looked at once for all its streams, and what they send goes out in one write.
        self._wake(iter(sorted(watches, key=_GROUP)))

    def _wake(self, watches: Iterator[Watch]) -> None:
        """A few in each turn of the loop, so that what they send is written between, and other calls are answered."""
        turn = list(islice(watches, _A_TURN))
        show_all(turn, self.cache.view)
        if len(turn) == _A_TURN:
            asyncio.get_running_loop().call_soon(self._wake, watches)

    def _forget(self, watch: Watch) -> None:
        for entry in watch.entries:
            shown = self._shown.get(entry.id)
            if shown is not None:
                shown.discard(watch)
                if not shown:
                    del self._shown[entry.id]
