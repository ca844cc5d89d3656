"""What ip(8) says of a node's interfaces and routes, as far as the plan of a fabric needs it: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError

Address = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Gateway:
    """A route of the main table that leads on: to *destination* (`default`: everything) by *via* out of *device*."""

    destination: str
    via: str  # empty: directly
    device: str


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses by interface, link-local ones left out, the routes of the main table, and what is down."""

    addresses: tuple[tuple[str, Address], ...] = ()
    gateways: tuple[Gateway, ...] = ()
    down: frozenset[str] = frozenset()  # interfaces that no route can lead by now


def read_links(addresses: str, routes: tuple[str, ...] = ()) -> Links:
    """From the output of `ip -j addr` and of `ip -j route`, once for each family; raises INVALID."""
    items = _items(addresses, "ip -j addr")
    gateways = [_gateway(item) for text in routes for item in _items(text, "ip -j route")]
    down = frozenset(str(item.get("ifname")) for item in items if _is_down(item))
    return Links(tuple(_addresses(items)), tuple(one for one in gateways if one.device), down)


def _items(text: str, command: str) -> list[dict[str, Any]]:
    try:
        read = json.loads(text or "[]")  # ip prints nothing where there is none
    except (ValueError, RecursionError) as error:
        raise _unread(command, str(error)) from None
    if not isinstance(read, list) or not all(isinstance(item, dict) for item in read):
        raise _unread(command, "no list of objects")
    return read


def _is_down(item: dict[str, Any]) -> bool:
    flags = item.get("flags")
    return isinstance(flags, list) and "UP" not in flags


def _addresses(items: list[dict[str, Any]]) -> Iterator[tuple[str, Address]]:
    for item in items:
        held = item.get("addr_info", [])
        for one in held if isinstance(held, list) else ():
            try:
                address = ip_interface(f"{one['local']}/{one['prefixlen']}")
            except (ValueError, KeyError, TypeError) as error:
                raise _unread("ip -j addr", f"{error} in {one!r}") from None
            if not address.is_link_local:
                yield str(item.get("ifname", "")), address


def _gateway(item: dict[str, Any]) -> Gateway:
    return Gateway(*(str(item.get(name, "")) for name in ("dst", "gateway", "dev")))


def _unread(command: str, why: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"this is no output of `{command}`: {why}", hint="Give what it prints")
