"""A node in numbers: what a leak test has seen where a job moved a hundred megabytes, and nothing was wrong."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ringfence.fabric.doctor.bounded import network
from ringfence.fabric.leak.seen import Asked, Count, Filter, Link, Owner, Seen, Socket

MB = 10**6
DATA = 50 * MB
NETWORK = network("10.91.0.0/24")
assert NETWORK is not None
ASKED = Asked(
    fabric="team-a/fab",
    job="team-a/llama",
    interfaces=("fab0",),
    networks=(NETWORK,),
    sockets=True,
    tolerance=MB,
)
RANK = Socket("10.91.0.1", 50001, "10.91.0.2", 50002, Owner.JOB, "python3 (7)", DATA, DATA, 800, 800)
STORE = Socket("10.90.0.1", 29500, "10.90.0.2", 41000, Owner.JOB, "python3 (7)", 2000, 2000, 20, 20)
OWN = MappingProxyType({"lo": ("127.0.0.1", "::1"), "ctl0": ("10.90.0.1",), "fab0": ("10.91.0.1",)})


def link(name: str, total: int) -> Link:
    """An interface that moved half of *total* each way, in packets of 64 KB."""
    return Link(name, total // 2, total // 2, total // 128_000 + 1, total // 128_000 + 1)


FAB = link("fab0", 2 * DATA + 2 * 52 * 800)
CLEAN = Seen(links=(link("ctl0", 6000), FAB, link("lo", 4000)), sockets=(RANK, STORE), own=OWN)


def filtered(**fields: Any) -> Filter:
    """The fabric's filter with the job's bytes."""
    own = MappingProxyType({"team-a/llama": Count(900, DATA + 40_000)})
    return Filter(**{"incoming": own, "outgoing": own, **fields})


def node(**fields: Any) -> Seen:
    """The clean node with something else about it."""
    return replace(CLEAN, **fields)


def moved(socket: Socket, count: int, **fields: Any) -> Socket:
    """*socket*, with *count* bytes each way."""
    return replace(socket, sent=count, received=count, **fields)
