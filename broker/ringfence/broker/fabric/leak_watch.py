"""Looks at a node while a job runs: counters before and after, sockets and proxies all the time between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Self

from ringfence.broker.fabric.apply_links import live_links
from ringfence.broker.fabric.apply_tools import run
from ringfence.broker.fabric.collect import read_ports
from ringfence.broker.fabric.leak_owners import NOBODY, Holder, Owners
from ringfence.broker.fabric.leak_proxies import admin_interfaces, exchanged, shown
from ringfence.broker.fabric.leak_sockets import Ends, Figures, connected
from ringfence.certs.errors import RingfenceError
from ringfence.fabric.doctor.sysfs import Port, ports
from ringfence.fabric.leak.counters import filter_grown, filter_of, grown, links, rdma_bytes
from ringfence.fabric.leak.seen import Filter, Link, Proxy, Seen, Socket
from ringfence.fabric.plan_nft import table_of

PROXIES_EVERY = 0.5  # seconds


class Watch:
    """From its entering on: `look` now and then, and `finish` at the end of the job.

    *job* gives the processes of the job that there are now, *fabric* is NAMESPACE/NAME, *admins* are the proxies' admin
    interfaces that are named; others are found.
    """

    def __init__(self, fabric: str, job: Callable[[], Iterable[int]], admins: tuple[str, ...] = ()) -> None:
        self._fabric, self._job, self._named = fabric, job, admins
        self._owners = Owners(job)
        self._ends: Ends | None = None
        self._exits = ExitStack()
        self._first: dict[bytes, Figures] = {}
        self._last: dict[bytes, Figures] = {}
        self._holders: dict[bytes, Holder] = {}
        self._proxies_first: dict[tuple[str, str], int] = {}
        self._proxies: dict[tuple[str, str], int] = {}
        self._open: set[bytes] = set()
        self._unreadable = ""
        self._asked_at = 0.0
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._ends = self._exits.enter_context(Ends())
        except OSError as error:
            self._notes.append(f"the ends of sockets are not told: {error.strerror or error}")
        self._look_at_proxies()
        self._proxies_first = dict(self._proxies)
        self._look_at_sockets()
        self._first = dict(self._last)
        self._links, self._filter, self._ports = _links(), self._counted(), _ports()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def look(self) -> None:
        """Take note of sockets that came, and of who holds them, before they go; of proxies less often."""
        self._look_at_sockets()
        if time.monotonic() - self._asked_at > PROXIES_EVERY:
            self._look_at_proxies()

    def finish(self) -> Seen:
        """Take the last figures, before others move on; what it all came to."""
        self._look_at_sockets()
        self._look_at_proxies()
        own: dict[str, tuple[str, ...]] = {}
        for name, address in live_links().addresses:
            own[name] = (*own.get(name, ()), str(address.ip))
        return Seen(
            links=grown(self._links, _links()),
            sockets=None if self._unreadable else tuple(map(self._socket, self._last)),
            complete=self._complete(),
            filter=filter_grown(self._filter, self._counted()),
            proxies=tuple(self._exchanged()),
            rdma=rdma_bytes(self._ports, _ports()),
            own=MappingProxyType(own),
        )

    def told(self) -> tuple[str, ...]:
        """A line for each thing that could not be read."""
        hidden = self._owners.hidden()
        blind = (f"what {hidden} of the node's processes hold is not shown to this user",) if hidden else ()
        return (*dict.fromkeys(self._notes), *blind)

    def _look_at_sockets(self) -> None:
        try:
            there = connected()
        except OSError as error:
            self._unreadable = error.strerror or str(error)
            self._notes.append(f"sockets are not judged: {self._unreadable}")
            return
        held = self._owners.of([one.inode for one in there], [one.uid for one in there])
        for one in there:
            self._last[one.cookie] = one
            if one.inode in held:
                self._holders[one.cookie] = held[one.inode]
        self._open = {one.cookie for one in there}
        for one in self._ends.read() if self._ends else ():
            # Who had it is known from before, if at all.
            self._last[one.cookie] = one
            self._open.discard(one.cookie)

    def _complete(self) -> bool:
        """Whether every socket that is gone told what it had, or is there still."""
        return self._ends.whole if self._ends else self._open == self._last.keys()

    def _socket(self, cookie: bytes) -> Socket:
        first, last = self._first.get(cookie), self._last[cookie]
        owner, who = self._holders.get(cookie, NOBODY)
        return Socket(
            last.local,
            last.local_port or (first.local_port if first else 0),
            last.peer,
            last.peer_port,
            owner,
            who,
            last.sent - (first.sent if first else 0),
            last.received - (first.received if first else 0),
            last.segments_out - (first.segments_out if first else 0),
            last.segments_in - (first.segments_in if first else 0),
        )

    def _look_at_proxies(self) -> None:
        for admin in dict.fromkeys((*self._named, *admin_interfaces(frozenset(self._job())))):
            for upstream, count in (exchanged(admin) or {}).items():
                self._proxies[admin, upstream] = count
        self._asked_at = time.monotonic()

    def _exchanged(self) -> Iterable[Proxy]:
        """By proxy and upstream; one that is named and never answered is told of."""
        for admin in self._named:
            if not any(admin == one for one, _ in self._proxies):
                self._notes.append(f"the proxy at {admin} does not tell what its upstreams exchanged")
        for (admin, upstream), count in self._proxies.items():
            first = self._proxies_first.get((admin, upstream), 0)
            yield Proxy(f"{upstream} at {shown(admin)}", count - first if count >= first else count)

    def _counted(self) -> Filter | None:
        try:
            return filter_of(run(("nft", "-j", "list", "table", *table_of(self._fabric).split())))
        except RingfenceError as error:
            if "No such file" not in error.detail:
                self._notes.append(f"the fabric's own filter is not judged: {error.detail}")
            return None


def _links() -> dict[str, Link]:
    return links(Path("/proc/self/net/dev").read_text(encoding="utf-8"))


def _ports() -> tuple[Port, ...]:
    return ports(read_ports(Path("/sys/class/infiniband")))
