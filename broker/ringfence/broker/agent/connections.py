"""Whose the open connections at the TCP ports of this node's proxies are; those of whoever is revoked are cut at once.

A proxy tells each connection that it lets in. Envoy judges no open one again, and drains all of a port (docs/mesh.md);
the kernel resets a single one in microseconds, where it lets the agent. What it does not let, the drain still ends.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ringfence.broker.agent import events
from ringfence.broker.agent.inet_diag import Address, InetDiag

_MOST = 16384  # connections that are remembered of one user's proxies; the oldest are forgotten first


@dataclass(frozen=True, slots=True)
class Told:
    """A connection as a proxy tells it: its two addresses, its own first, and the caller's SPIFFE ID."""

    local: Address
    remote: Address
    peer: str


Cut = Callable[[Sequence[Told], int], int]


class Connections:
    """Remembers them by the user whose process told; *revoked* is what is revoked now, by SPIFFE ID."""

    def __init__(self, revoked: Callable[[], Mapping[str, object]], cut: Cut | None = None) -> None:
        self._revoked = revoked
        self._cut = cut or cut_connections
        self._told: defaultdict[int, OrderedDict[tuple[Address, Address], Told]] = defaultdict(OrderedDict)
        self._look = asyncio.Event()

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

    def look_again(self) -> None:
        """Others are revoked than before."""
        self._look.set()

    async def run(self) -> None:
        """Cut what is to be cut, until cancelled."""
        while True:
            await self._look.wait()
            self._look.clear()
            for uid, gone in self._take_revoked().items():
                try:
                    events.connections_cut(await asyncio.to_thread(self._cut, gone, uid))
                except OSError as error:
                    events.connections_not_cut(len(gone), error.strerror or str(error))

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


def cut_connections(told: Sequence[Told], uid: int) -> int:
    """Reset these connections, those only that are really of a process of user *uid*; how many there were.

    Who tells a connection may only have its own ones cut: whatever else is told is passed over. Raises OSError where
    the kernel refuses.
    """
    cut = 0
    with InetDiag() as kernel:
        for one in told:
            found = kernel.find(one.local, one.remote)
            if found is not None and found.uid == uid:
                cut += kernel.destroy(found)
    return cut
