"""What iproute2's `rdma -j` says: links, statistics by link, and whether the namespaces share the devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import MAX_FACTS, from_json, objects, whole, words


@dataclass(frozen=True, slots=True)
class Link:
    """A port as `rdma -j link` shows it; *interface* is its network device, where it has one."""

    device: str
    port: int
    state: str
    interface: str


@dataclass(frozen=True, slots=True)
class Statistic:
    """The counters of a port as `rdma -j statistic` shows them."""

    device: str
    port: int
    counters: Mapping[str, int]


def links(text: str) -> tuple[Link, ...]:
    """The links of `rdma -j link`; nothing for anything else."""
    return tuple(
        Link(words(one.get("ifname")), whole(one.get("port")) or 0, words(one.get("state")), words(one.get("netdev")))
        for one in objects(from_json(text))
        if words(one.get("ifname"))
    )


def statistics(text: str) -> tuple[Statistic, ...]:
    """The statistics of `rdma -j statistic`: whatever of a port is a number counts something."""
    return tuple(
        Statistic(words(one.get("ifname")), whole(one.get("port")) or 0, _counters(one))
        for one in objects(from_json(text))
        if words(one.get("ifname"))
    )


def _counters(one: dict[str, object]) -> Mapping[str, int]:
    numbers = {name: whole(value) for name, value in list(one.items())[:MAX_FACTS] if name not in {"port", "ifindex"}}
    return MappingProxyType({name: value for name, value in numbers.items() if value is not None})


def shared_namespaces(text: str) -> bool | None:
    """Whether `rdma -j system` says that every network namespace sees every device; None where it says neither."""
    modes = {words(one.get("netns")) for one in objects(from_json(text))}
    return None if not modes & {"shared", "exclusive"} else "shared" in modes
