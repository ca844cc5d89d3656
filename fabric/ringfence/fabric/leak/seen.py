"""What a leak test has seen of one node between its start and its end, as frozen values: growth, never totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import Network, address

LOOPBACK = "lo"


class Owner(Enum):
    """Whose a socket is."""

    JOB = "the job"
    PROXY = "a proxy"
    OTHER = "somebody else"
    UNKNOWN = "nobody known"  # it was closed before anybody saw whose it was


@dataclass(frozen=True, slots=True)
class Link:
    """One interface, in bytes and packets (proc_pid_net(5): /proc/PID/net/dev)."""

    name: str
    received: int
    sent: int
    packets_in: int = 0
    packets_out: int = 0

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.received + self.sent


@dataclass(frozen=True, slots=True)
class Socket:
    """One TCP socket, in bytes of payload, those sent again among them, and segments (tcp(7): tcp_info)."""

    local: str
    local_port: int
    peer: str
    peer_port: int
    owner: Owner
    who: str = ""  # NAME (PID)
    sent: int = 0
    received: int = 0
    segments_out: int = 0
    segments_in: int = 0

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.sent + self.received


@dataclass(frozen=True, slots=True)
class Count:
    """What an nft counter has."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.packets + other.packets, self.bytes + other.bytes)

    def since(self, before: Count) -> Count:
        """The growth; where it became smaller the table was made anew, and all of it came since."""
        if self.packets < before.packets or self.bytes < before.bytes:
            return self
        return Count(self.packets - before.packets, self.bytes - before.bytes)


@dataclass(frozen=True, slots=True)
class Filter:
    """The fabric's own packet filter: what went between members, by job, and what it refused; IP bytes."""

    incoming: Mapping[str, Count] = field(default_factory=lambda: MappingProxyType({}))  # by NAMESPACE/JOB
    outgoing: Mapping[str, Count] = field(default_factory=lambda: MappingProxyType({}))
    refused_in: Count = Count()
    refused_out: Count = Count()
    astray: Count = Count()  # meant for the fabric's addresses or networks, by another interface


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy by its admin interface: bytes between it and its upstreams, both ways."""

    name: str
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything; None is what could not be read."""

    links: tuple[Link, ...]
    sockets: tuple[Socket, ...] | None
    complete: bool = True  # whether the last figures of sockets that were closed meanwhile are among them
    filter: Filter | None = None
    proxies: tuple[Proxy, ...] = ()
    rdma: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # bytes by DEVICE:PORT
    own: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))  # addresses by interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be proved."""

    fabric: str  # NAMESPACE/NAME
    job: str  # NAMESPACE/JOB
    interfaces: tuple[str, ...]
    networks: tuple[Network, ...]
    sockets: bool  # whether the collective's own data crosses sockets, and not an adapter's queue pairs
    tolerance: int  # bytes of each part that are rendezvous and chatter

    def on_fabric(self, seen: Seen, host: str) -> bool:
        """Whether *host* is one of the node's addresses on the fabric, or in its networks."""
        found = address(host)
        if found is None:
            return False
        own = {address(one) for name in self.interfaces for one in seen.own.get(name, ())}
        return found in own or any(found.version == one.version and found in one for one in self.networks)
