"""What an active probe may cost, and what one told of the way to a peer: pure, the edge sends and counts."""

from __future__ import annotations

from dataclasses import dataclass

ROUND_TRIPS = 10  # echo requests for the round trip's time
HOPS = 3  # that may cross no router
SIZES = 18  # looked at to find the largest packet: halving 64 KiB takes 16, its ends are two
TRIES = 3  # of each size
SMALLEST = 576  # bytes of a packet that every network takes (RFC 791)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that is sent to one peer by one interface, and for how long."""

    ports: tuple[int, ...]  # that are connected to once each
    mtu: int  # bytes of the largest echo request
    data: int = 64 * 1024 * 1024  # bytes over one connection, to a responder alone
    seconds: float = 20.0  # in all, but for ib_write_bw
    device: str = ""  # of RDMA, where ib_write_bw is to run by it

    @property
    def echoes(self) -> int:
        """Echo requests."""
        return ROUND_TRIPS + HOPS + SIZES * TRIES

    def __str__(self) -> str:
        ports = f"{len(self.ports)} connections to ports {', '.join(map(str, self.ports))}" if self.ports else "none"
        verbs = f"; 2 s of ib_write_bw by {self.device}" if self.device else ""
        return (
            f"{self.echoes} echo requests of {self.mtu} bytes or less; {ports}, with a greeting of TLS on each; "
            f"{self.data} bytes over one connection to a responder; {self.seconds:g} s{verbs}"
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """What was sent indeed."""

    echoes: int = 0
    connections: int = 0
    data: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.echoes} echo requests, {self.connections} connections, {self.data} bytes to a responder, "
            f"{self.seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """What one peer answered by one interface; None for what was not to be had."""

    peer: str
    interface: str
    rtt: float | None = None  # milliseconds, the least of several
    direct: bool | None = None  # it answers packets that may cross no router
    largest: int | None = None  # bytes of the largest packet that came through unfragmented
    rate: float | None = None  # Gbit/s over one connection
    line_rate: float | None = None  # Gbit/s that the interface says it has
    open_ports: tuple[int, ...] = ()  # of rendezvous that were connected to and speak no TLS
    verbs: float | None = None  # Gbit/s of ib_write_bw

    @property
    def path(self) -> str:
        """Where a finding says it was seen."""
        return f"probe of {self.peer} by {self.interface}"


def next_size(passed: int, refused: int) -> int | None:
    """The next size to try between the largest that passed and the smallest that did not; None once they meet."""
    return (passed + refused) // 2 if refused - passed > 1 else None
