"""Whose the open connections at the TCP ports of this node's proxies are; those of whoever is revoked are cut at once.

A proxy tells each connection that it lets in. Envoy judges no open one again, and drains all of a port (docs/mesh.md);
the kernel resets a single one in microseconds, where it lets the agent. A proxy that relies on that does not drain, so
at its ports nothing is left open of which nobody told whose it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ringfence.broker.agent import events
from ringfence.broker.agent.inet_diag import Address, Connection, InetDiag

_MOST = 16384  # connections that are remembered of one user's proxies; the oldest are forgotten first
TOLD_WITHIN = 3.0  # seconds from a connection's first byte until its proxy has told of it, which takes one at most


@dataclass(frozen=True, slots=True)
class Told:
    """A connection as a proxy tells it: its two addresses, its own first, and the caller's SPIFFE ID."""

    local: Address
    remote: Address
    peer: str


class Kernel(Protocol):
    """What single connections are ended by; both raise OSError where it refuses."""

    def cut(self, told: Sequence[Told], uid: int) -> int:
        """Reset these connections, those only that are really of a process of user *uid*; how many there were."""
        ...

    def end(self, some: Sequence[Connection]) -> int:
        """Reset these very connections; how many there still were."""
        ...

    def open_at(self, ports: Iterable[tuple[int, Address]]) -> list[Connection]:
        """The connections to these addresses of listeners of these users."""
        ...


class Connections:
    """Remembers them by the user whose process told; *revoked* is what is revoked now, by SPIFFE ID."""

    def __init__(
        self,
        revoked: Callable[[], Mapping[str, object]],
        kernel: Kernel | None = None,
        *,
        told_within: float = TOLD_WITHIN,
    ) -> None:
        self._revoked = revoked
        self._kernel = kernel or RealKernel()
        self._told_within = told_within
        self._told: defaultdict[int, OrderedDict[tuple[Address, Address], Told]] = defaultdict(OrderedDict)
        self._guarded: Counter[tuple[int, Address]] = Counter()
        self._look, self._sweep = asyncio.Event(), asyncio.Event()

    def note(self, uid: int, told: Iterable[Told]) -> None:
        """Processes of user *uid* have these connections open."""
        held, revoked = self._told[uid], self._revoked()
        for one in told:
            # A port that is used again is somebody else's from now on.
            held[one.local, one.remote] = one
            held.move_to_end((one.local, one.remote))
            if one.peer in revoked:  # it was told late
                self._look.set()
        while len(held) > _MOST:
            held.popitem(last=False)

    @contextmanager
    def guard(self, uid: int, ports: Sequence[Address]) -> Iterator[None]:
        """While a proxy of user *uid* is there that does not drain these ports for us."""
        keys = [(uid, port) for port in ports]
        # Of what it had open before we knew of it nobody may have told, and somebody may have been revoked meanwhile.
        if self._revoked() and any(not self._guarded[key] for key in keys):
            self._sweep.set()
        self._guarded.update(keys)
        try:
            yield
        finally:
            self._guarded.subtract(keys)
            self._guarded += Counter()  # drops those at zero

    def look_again(self) -> None:
        """Others are revoked than before."""
        self._look.set()
        self._sweep.set()

    async def run(self) -> None:
        """Cut what is to be cut, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_cutting())
            tasks.create_task(self._keep_sweeping())

    async def _keep_cutting(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            for uid, gone in self._take_revoked().items():
                try:
                    events.connections_cut(await asyncio.to_thread(self._kernel.cut, gone, uid))
                except OSError as error:
                    self._not_cut(len(gone), error)

    def _take_revoked(self) -> dict[int, list[Told]]:
        """Those of whoever is revoked, by user; they are remembered no more."""
        revoked, found = self._revoked(), {}
        for uid, held in self._told.items():
            gone = [one for one in held.values() if one.peer in revoked]
            for one in gone:
                del held[one.local, one.remote]
            if gone:
                found[uid] = gone
        return found

    async def _keep_sweeping(self) -> None:
        """End what is open at guarded ports and remains untold: it may be anybody's."""
        while True:
            await self._sweep.wait()
            self._sweep.clear()
            try:
                strangers = self._untold(await asyncio.to_thread(self._kernel.open_at, [*self._guarded]))
                if strangers:
                    await asyncio.sleep(self._told_within)
                    untold = self._untold(strangers)
                    events.connections_cut(await asyncio.to_thread(self._kernel.end, untold))
            except OSError as error:
                self._not_cut(len(self._guarded), error)

    def _not_cut(self, count: int, error: OSError) -> None:
        detail = error.strerror or str(error)
        if self._guarded:
            events.connections_left_open(detail)
        else:
            events.connections_not_cut(count, detail)

    def _untold(self, some: Iterable[Connection]) -> list[Connection]:
        return [one for one in some if (one.local, one.remote) not in self._told[one.uid]]


class RealKernel:
    """The network namespace that this process is in."""

    def cut(self, told: Sequence[Told], uid: int) -> int:
        """Whoever tells a connection may only have its own ones cut: whatever else is told is passed over."""
        with InetDiag() as kernel:
            found = (kernel.find(one.local, one.remote) for one in told)
            return sum(kernel.destroy(one) for one in found if one is not None and one.uid == uid)

    def end(self, some: Sequence[Connection]) -> int:
        """By their cookies."""
        with InetDiag() as kernel:
            return sum(map(kernel.destroy, some))

    def open_at(self, ports: Iterable[tuple[int, Address]]) -> list[Connection]:
        """Seen from the side that listens."""
        wanted = frozenset(ports)
        if not wanted:
            return []
        with InetDiag() as kernel:
            return [one for one in kernel.open_connections() if not wanted.isdisjoint(_listeners(one))]


def _listeners(one: Connection) -> Iterator[tuple[int, Address]]:
    """Where its listener may listen."""
    for host in (one.local[0], "0.0.0.0", "::"):  # noqa: S104  # nothing is bound here
        yield one.uid, (host, one.local[1])


def cuts_for(pid: int) -> bool:
    """Whether we can cut the connections of what that process starts: the kernel lets us, and it is in our network."""
    try:
        with InetDiag() as kernel:
            return not kernel.why_not() and Path("/proc/self/ns/net").samefile(f"/proc/{pid}/ns/net")
    except OSError:
        return False
