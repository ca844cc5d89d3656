"""The packet filter of a fabric on one node as text for one `nft -f` transaction: whoever is no member stays out; pure.

It sees sockets alone. Nothing in it concerns another interface, but for what is addressed to the fabric and comes or
goes by one. It keeps no state of connections: a set that loses an address cuts what is open, and the collective pays
for no table of flows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan import FabricPlan, Member
from ringfence.policy.fabrics import FabricKind

_T = TypeVar("_T")
_HOOKS = "type filter hook {hook} priority {priority}; policy accept;"
_INTERVALS = ("flags interval", "auto-merge")
_LONGEST = 30 * 86_400  # seconds: nft takes no number of any size, and whoever leads a set renews it sooner
# Neighbours find each other, and switches whom to send multicast to; no router is believed (RFC 4861, RFC 3810).
_NEIGHBOURS = (
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
    "icmpv6 type { mld-listener-query, mld-listener-report, mld2-listener-report } accept",
)
# A hop that takes smaller packets only says so, and is no member (RFC 1191, RFC 8201).
_PATH_MTU = ("icmp type destination-unreachable icmp code frag-needed accept", "icmpv6 type packet-too-big accept")


def table_of(key: str) -> str:
    """The table of the fabric NAMESPACE/NAME, with its family."""
    return f"inet ringfence-fabric/{key}"


def removal(key: str) -> str:
    """The nft transaction that removes the table, whether it is there or not."""
    return f"add table {table_of(key)}\ndelete table {table_of(key)}\n"


def ruleset(plan: FabricPlan, before: Mapping[str, str] = MappingProxyType({}), now: float = 0.0) -> str:
    """The nft transaction that puts *plan* in the place of whatever is there of the fabric.

    *before* is what is to be remembered of each interface, and kept as the comment of its name. At *now*, in Unix
    seconds, members whose end has come are left out.
    """
    lines = [*_sets(plan, before, now), *_hooks(plan), *_decide(plan)]
    body = "".join(f"  {line}\n" for line in lines)
    return f"{_preface(plan)}{removal(plan.fabric.key)}table {table_of(plan.fabric.key)} {{\n{body}}}\n"


def interfaces_in(listing: str) -> list[tuple[str, str]]:
    """Each interface that a table has, with its comment, from `nft -j list table`; raises INVALID."""
    try:
        items = json.loads(listing)["nftables"]
        sets = [item["set"] for item in items if "set" in item and item["set"]["name"] == "interfaces"]
        return [_commented(element) for one in sets for element in one.get("elem", [])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RingfenceError(Kind.INVALID, f"nft printed no table: {error!r}", hint="Install nftables 1.0") from None


def _commented(element: Any) -> tuple[str, str]:
    if isinstance(element, dict):
        return str(element["elem"]["val"]), str(element["elem"].get("comment", ""))
    return str(element), ""


def _preface(plan: FabricPlan) -> str:
    kind, enforcer = plan.fabric.kind, plan.fabric.enforced_by.value
    if kind is FabricKind.TCP:
        return f"# Fabric {plan.fabric.key}, {kind.value}: its data crosses sockets, and so this table.\n"
    return (
        f"# Fabric {plan.fabric.key}, {kind.value}: RDMA passes the adapter and not the kernel (RoCE is UDP 4791 on\n"
        f"# the wire), so that no rule here sees its data. What keeps strangers off that is: {enforcer}.\n"
    )


def _sets(plan: FabricPlan, before: Mapping[str, str], now: float) -> Iterator[str]:
    # Those that are here, for their comments alone; and what rules ask for, which may name some that are to come.
    yield from _set("interfaces", "ifname", (_interface(nic.name, before.get(nic.name, "")) for nic in plan.nics))
    if _alone(plan.denied) is None:
        yield from _set("denied", "ifname", (f'"{name}"' for name in plan.denied), "flags interval")
    if _alone(plan.fabric.ports) is None:
        yield from _set("ports", "inet_service", map(str, plan.fabric.ports), *_INTERVALS)
    for version in (4, 6):
        kind = f"ipv{version}_addr"
        networks = (cidr for cidr in plan.fabric.cidrs if (":" in cidr) == (version == 6))  # noqa: PLR2004  # IPv6
        yield from _set(f"networks{version}", kind, networks, *_INTERVALS)
        yield from _set(f"own{version}", kind, dict.fromkeys(str(one) for one in plan.own if one.version == version))
        for job in plan.members:
            members = (element(one, now) for one in job.members if one.address.version == version)
            yield from _set(set_of(job.job, version), kind, filter(None, members), "flags timeout")


def _alone(some: Sequence[_T]) -> _T | None:
    """The only one: compared with itself it costs a packet less than a set, which looks through a tree."""
    return some[0] if len(some) == 1 else None


def _denied(plan: FabricPlan) -> str:
    """What an interface's name is compared with."""
    return "@denied" if (name := _alone(plan.denied)) is None else f'"{name}"'


def _ports(plan: FabricPlan) -> str:
    return "@ports" if (span := _alone(plan.fabric.ports)) is None else str(span)


def _interface(name: str, comment: str) -> str:
    return f'"{name}" comment "{comment}"' if comment else f'"{name}"'


def set_of(job: str, version: int) -> str:
    """The set of the addresses of NAMESPACE/JOB that are of that version of IP."""
    return f"job{version}/{job}"


def element(member: Member, now: float) -> str:
    """*member* as an element that the kernel drops at its end, at the latest; empty where that has come."""
    if not member.until:
        return str(member.address)
    seconds = min(int(member.until - now), _LONGEST)
    return f"{member.address} timeout {seconds}s" if seconds > 0 else ""


def _set(name: str, kind: str, elements: Iterable[str], *properties: str) -> Iterator[str]:
    yield f"set {name} {{"
    yield f"  type {kind}"
    yield from (f"  {line}" for line in properties)
    if listing := ", ".join(elements):
        yield f"  elements = {{ {listing} }}"
    yield "}"


def _hooks(plan: FabricPlan) -> Iterator[str]:
    denied = _denied(plan)
    # 1. No connection is tracked on the fabric: none is then redirected to a proxy, and a flow costs no table.
    yield from _chain("untracked_in", _hook("prerouting", "raw"), f"iifname {denied} notrack")
    yield from _chain("untracked_out", _hook("output", "raw"), f"oifname {denied} notrack")
    # 2. What comes in by the fabric; and what is meant for the fabric's addresses and comes by another way.
    elsewhere = 'iifname != "lo" {} daddr @own{} counter drop'
    yield from _chain(
        "in",
        _hook("input", "filter"),
        f"iifname {denied} goto fabric_in",
        elsewhere.format("ip", 4),
        elsewhere.format("ip6", 6),
    )
    # 3. What leaves by it; and what is meant for its networks and would leave by another way.
    astray = 'oifname != "lo" {} daddr @networks{} counter reject with icmpx admin-prohibited'
    yield from _chain(
        "out",
        _hook("output", "filter"),
        f"oifname {denied} goto fabric_out",
        astray.format("ip", 4),
        astray.format("ip6", 6),
    )
    # 4. The node is no router between the fabric and anything.
    yield from _chain(
        "across", _hook("forward", "filter"), f"iifname {denied} counter drop", f"oifname {denied} counter drop"
    )


def _decide(plan: FabricPlan) -> Iterator[str]:
    """Both ends in the set of one job, and then the fabric's ports; all else is refused."""
    yield from _chain(
        "members",
        f"tcp dport {_ports(plan)} accept",
        # An answer: what opens a connection needs one of the ports at its other end, whatever its own is.
        f"tcp sport {_ports(plan)} tcp flags & (syn | ack) != syn accept",
        "icmp type { echo-request, echo-reply, destination-unreachable, time-exceeded } accept",
        "icmpv6 type { echo-request, echo-reply, destination-unreachable, time-exceeded } accept",
    )
    # Counted by job, so that a leak test can tell one job's bytes from those of its neighbours.
    pairs = [
        f"{ip} saddr @{set_of(job.job, version)} {ip} daddr @{set_of(job.job, version)} counter jump members"
        for job in plan.members
        for ip, version in (("ip", 4), ("ip6", 6))
    ]
    # Members first: every packet of a collective passes here.
    yield from _chain("fabric_in", *pairs, *_NEIGHBOURS, *_PATH_MTU, "counter drop")
    # The program is told, so that it need not wait for a timeout.
    yield from _chain("fabric_out", *pairs, *_NEIGHBOURS, *_PATH_MTU, "counter reject with icmpx admin-prohibited")


def _hook(hook: str, priority: str) -> str:
    return _HOOKS.format(hook=hook, priority=priority)


def _chain(name: str, *lines: str) -> Iterator[str]:
    yield f"chain {name} {{"
    yield from (f"  {line}" for line in lines)
    yield "}"
