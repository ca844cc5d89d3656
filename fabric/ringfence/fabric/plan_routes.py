"""The routes of a fabric on one node: what comes from an address of it leaves by that interface, or not at all.

A table for each interface, which ends in `unreachable`, a rule for each address, and one for the mark of those who
choose the interface without binding to an address (ip-rule(8), SO_MARK of socket(7)). Ours are known by table and
protocol, so that what is there can be held against what is wanted, and taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan import MOST_NICS, FabricPlan, Nic
from ringfence.fabric.plan_links import Address

PROTOCOL = "82"  # who made a route or rule (rtnetlink(7)): none of those that iproute2 has a name for
PRIORITY = 5200  # before the main table's 32766
MARK_PRIORITY = 5199  # a mark is said on purpose, and an address may be a socket's by chance
_FIRST_TABLE = 0x52000000
_FAMILIES = 1 << 18  # of MOST_NICS tables, in 24 bits
_LAST_RESORT = 4294967295
_UNREACHABLE = frozenset({"unreachable", "7"})


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A rule or a route as ip(8) is told it, without its verb."""

    version: int
    what: str  # rule, or route
    words: str


def tables(key: str) -> range:
    """The numbers of the tables of the fabric *key*: the same on every node and after every restart."""
    place = int.from_bytes(sha256(key.encode()).digest()[:4]) % _FAMILIES
    return range(_FIRST_TABLE + place * MOST_NICS, _FIRST_TABLE + (place + 1) * MOST_NICS)


def wanted(plan: FabricPlan) -> tuple[Entry, ...]:
    """Routes first, so that no rule leads into an empty table. The mark of an interface is the number of its table."""
    numbered = list(zip(tables(plan.fabric.key), plan.nics, strict=False))
    routes = [one for table, nic in numbered for version in (4, 6) for one in _routes(nic, table, version)]
    marks = [
        Entry(version, "rule", f"fwmark {table:#x} lookup {table} priority {MARK_PRIORITY} protocol {PROTOCOL}")
        for table, nic in numbered
        for version in (4, 6)
        if any(address.version == version for address in nic.addresses)
    ]
    rules = [
        Entry(address.version, "rule", f"from {address.ip} lookup {table} priority {PRIORITY} protocol {PROTOCOL}")
        for table, nic in numbered
        for address in nic.addresses
    ]
    return (*routes, *marks, *rules)


def _routes(nic: Nic, table: int, version: int) -> Iterator[Entry]:
    own = [address for address in nic.addresses if address.version == version]
    if not own:
        return
    tail = f"table {table} protocol {PROTOCOL}"
    if nic.up:
        yield from (Entry(version, "route", f"{words} {tail}") for words in _leading(nic, own))
    yield Entry(version, "route", f"unreachable default metric {_LAST_RESORT} {tail}")


def _leading(nic: Nic, own: list[Address]) -> Iterator[str]:
    # One for each network, by its first address; of a single address the kernel says no length.
    for network, source in {str(one.network): one.ip for one in reversed(own)}.items():
        single = network.removesuffix(f"/{source.max_prefixlen}")
        yield f"{single} dev {nic.name} src {source}"
    if own[0].version == 6:  # noqa: PLR2004  # neighbours answer each other by link-local addresses
        yield f"fe80::/64 dev {nic.name}"
    for on in nic.gateways:
        if ip_network(on.destination).version == own[0].version:
            yield f"{on.destination} via {on.via} dev {nic.name}"


def listed(key: str, version: int, rules: str, routes: str) -> tuple[Entry, ...]:
    """What a node has of the fabric *key*: `ip -N -j rule` and `ip -N -j route show table all`; raises INVALID."""
    ours = {str(number) for number in tables(key)}
    found = [Entry(version, "route", _route(item)) for item in _ours(routes, ours)]
    return (*found, *(Entry(version, "rule", _rule(item)) for item in _ours(rules, ours)))


def _ours(text: str, numbers: set[str]) -> Iterator[dict[str, Any]]:
    try:
        items = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise RingfenceError(Kind.INVALID, f"ip printed no JSON: {error}", hint="Install iproute2") from None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and item.get("table") in numbers and item.get("protocol") == PROTOCOL:
            yield item


def _rule(item: dict[str, Any]) -> str:
    if "fwmark" in item:
        mark = f"{item['fwmark']}/{item['fwmask']}" if "fwmask" in item else item["fwmark"]
        return f"fwmark {mark} lookup {item['table']} priority {item.get('priority')} protocol {PROTOCOL}"
    source = f"{item.get('src')}/{item['srclen']}" if "srclen" in item else item.get("src")
    return f"from {source} lookup {item['table']} priority {item.get('priority')} protocol {PROTOCOL}"


def _route(item: dict[str, Any]) -> str:
    tail = f"table {item['table']} protocol {PROTOCOL}"
    if item.get("type") in _UNREACHABLE:
        return f"unreachable {item.get('dst')} metric {item.get('metric')} {tail}"
    via = f" via {item['gateway']}" if "gateway" in item else ""
    source = f" src {item['prefsrc']}" if "prefsrc" in item else ""
    return f"{item.get('dst')}{via} dev {item.get('dev')}{source} {tail}"


def batch(entries: Iterable[Entry], version: int) -> str:
    """The lines for `ip -4 -batch -` or `ip -6 -batch -` that add *entries* of that family to a node without any."""
    return "".join(f"{one.what} add {one.words}\n" for one in entries if one.version == version)


def changes(want: Iterable[Entry], have: Iterable[Entry], version: int) -> str:
    """The lines that make a node that has *have* one that has *want*; nothing where they are the same."""
    wants, haves = tuple(dict.fromkeys(want)), tuple(dict.fromkeys(have))
    gone = [one for one in haves if one not in wants and one.version == version]
    # Rules go before the routes that they lead to, and come after them.
    gone.sort(key=lambda one: one.what != "rule")
    removed = "".join(f"{one.what} del {one.words}\n" for one in gone)
    return removed + batch((one for one in wants if one not in haves), version)
