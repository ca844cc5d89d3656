"""Ways of IP as iproute2 tells them: `ip [-j] route get PEER`, `ip [-j] neigh`, `ip -j addr`.

A peer that is on the link is reached without `via`, and answers with a MAC address that no other peer has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ringfence.fabric.doctor.bounded import MAX_ROWS, address, from_json, lines, network, objects, whole, words

_ROUTE = re.compile(
    r"^(?:local |broadcast )?([0-9A-Fa-f.:]{2,45})(?: from \S{2,45})?(?: via (\S{2,45}))?.{0,256}? dev (\S{1,64})"
)
_NEIGHBOUR = re.compile(r"^([0-9A-Fa-f.:]{2,45}) dev (\S{1,64}) lladdr ([0-9A-Fa-f:]{2,64})")


@dataclass(frozen=True, slots=True)
class Route:
    """The way to one address; the gateway is empty where it is on the link."""

    path: str
    line: int
    destination: str
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Which MAC address answers for an IP address."""

    path: str
    line: int
    address: str
    interface: str
    mac: str


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface with its addresses in CIDR form, the network's bits kept beside the host's."""

    name: str
    mtu: int
    addresses: tuple[str, ...]


def routes(text: str, path: str) -> tuple[Route, ...]:
    """The routes in *text* from *path*, in either form."""
    if _is_json(text):
        told = objects(from_json(text))
        return tuple(
            Route(path, 1, words(one.get("dst")), words(one.get("gateway")) or _via(one), words(one.get("dev")))
            for one in told
            if words(one.get("dst"))
        )
    found = ((number, _ROUTE.search(line)) for number, line in lines(text))
    said = [Route(path, number, got.group(1), got.group(2) or "", got.group(3)) for number, got in found if got]
    return tuple(said[:MAX_ROWS])


def neighbours(text: str, path: str) -> tuple[Neighbour, ...]:
    """The neighbours in *text* from *path* that have a MAC address, in either form."""
    if _is_json(text):
        told = objects(from_json(text))
        return tuple(
            Neighbour(path, 1, words(one.get("dst")), words(one.get("dev")), words(one.get("lladdr")).lower())
            for one in told
            if words(one.get("lladdr"))
        )
    found = ((number, _NEIGHBOUR.search(line)) for number, line in lines(text))
    said = [Neighbour(path, number, got.group(1), got.group(2), got.group(3).lower()) for number, got in found if got]
    return tuple(said[:MAX_ROWS])


def interfaces(text: str) -> tuple[Interface, ...]:
    """The interfaces of `ip -j addr`; nothing for anything else."""
    return tuple(
        Interface(words(one.get("ifname")), whole(one.get("mtu")) or 0, _addresses(one))
        for one in objects(from_json(text))
        if words(one.get("ifname"))
    )


def _addresses(one: dict[str, Any]) -> tuple[str, ...]:
    told = [(words(info.get("local")), whole(info.get("prefixlen"))) for info in objects(one.get("addr_info"))]
    return tuple(f"{local}/{bits}" for local, bits in told if address(local) and network(f"{local}/{bits}"))


def _via(one: dict[str, Any]) -> str:
    """A gateway of the other family stands in an object of its own."""
    via = one.get("via")
    return words(via.get("host")) if isinstance(via, dict) else ""


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in {"[", "{"}
