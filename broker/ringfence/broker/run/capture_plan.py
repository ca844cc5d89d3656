"""The firewall of a captured workload as text for one `nft -f` transaction, and the routes that it needs: pure.

Order decides: the fabric first, then questions for names, then loopback, then everything else to the proxy or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.broker.run.capture_exclusions import NOTHING, Exclusions
from ringfence.policy.forbidden import METADATA_NETWORKS

TABLE = "inet ringfence"
# Within the workload's namespace, below the range from which ports for its proxy are chosen (ports.py).
CAPTURE_PORT, DNS_PORT = 14001, 14053
LISTEN, DNS = f"127.0.0.1:{CAPTURE_PORT}", f"127.0.0.1:{DNS_PORT}"
# Names have to be resolved and virtual addresses to be routed before a packet can be turned round. It is the last
# resort of all routes; without the table it leads nowhere, since loopback takes no packet for an address of others.
_ROUTE = "default dev lo src 127.0.0.1 metric 4294967295"


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What one workload's namespace is to hold: what goes past the proxy, and the TCP ports that only it may reach."""

    exclusions: Exclusions = NOTHING
    served: tuple[tuple[int, int], ...] = ()  # first and last number of each


def routes() -> str:
    """A batch for ip(8): loopback up, and a route for what has no other."""
    return f"link set lo up\nroute replace {_ROUTE}\n"


def no_routes() -> str:
    """The batch that takes the route back."""
    return f"route del {_ROUTE}\n"


def removal() -> str:
    """The nft transaction that removes the table, whether it is there or not."""
    return f"add table {TABLE}\ndelete table {TABLE}\n"


def ruleset(plan: CapturePlan) -> str:
    """The nft transaction that puts *plan* in the place of whatever table of ours is there."""
    lines = [*_sets(plan), *_capture(plan), *_out(plan), *_in(plan), *_FORWARD]
    return f"{removal()}table {TABLE} {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _sets(plan: CapturePlan) -> Iterable[str]:
    skip = plan.exclusions
    yield from _set("interfaces", "ifname", (f'"{name}"' for name in skip.interfaces))
    for version in (4, 6):
        forbidden = (network for network in METADATA_NETWORKS if network.version == version)
        yield from _set(f"excluded{version}", f"ipv{version}_addr", map(str, skip.of_version(version)))
        yield from _set(f"metadata{version}", f"ipv{version}_addr", map(str, forbidden))
    yield from _set(
        "served", "inet_service", (f"{first}-{last}" if last else f"{first}" for first, last in plan.served)
    )


def _set(name: str, kind: str, elements: Iterable[str]) -> Iterable[str]:
    yield f"set {name} {{"
    yield f"  type {kind}"
    if kind != "ifname":
        yield "  flags interval"
        yield "  auto-merge"  # one of an operator's networks may hold another
    if listed := ", ".join(elements):
        yield f"  elements = {{ {listed} }}"
    yield "}"


def _past(plan: CapturePlan) -> Iterable[str]:
    """1. What goes past the proxy, but for metadata services, wherever they are routed."""
    if plan.exclusions.interfaces:
        # Neighbours find each other under link-local addresses, of which a cloud has made metadata services.
        yield "oifname @interfaces icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
        yield "oifname @interfaces ip daddr != @metadata4 accept"
        yield "oifname @interfaces ip6 daddr != @metadata6 accept"
    yield "ip daddr @excluded4 accept"
    yield "ip6 daddr @excluded6 accept"


def _capture(plan: CapturePlan) -> Iterable[str]:
    return _chain(
        "capture",
        "type nat hook output priority -100; policy accept;",
        *_past(plan),
        # 2. Whoever is named in resolv.conf, a resolver on loopback too: the proxy answers.
        f"meta nfproto ipv4 udp dport 53 redirect to :{DNS_PORT}",
        # 3. Loopback, and the namespace's own addresses.
        "fib daddr type local accept",
        # 4. All other TCP; the proxy finds out where it was going (SO_ORIGINAL_DST).
        f"meta nfproto ipv4 meta l4proto tcp redirect to :{CAPTURE_PORT}",
    )


def _out(plan: CapturePlan) -> Iterable[str]:
    return _chain(
        "out",
        "type filter hook output priority 0; policy drop;",
        *_past(plan),
        # What was turned round is local by now.
        "fib daddr type local accept",
        # UDP, IPv6 and all the rest. The program is told, so that it need not wait for a timeout.
        "counter reject with icmpx admin-prohibited",
    )


def _in(plan: CapturePlan) -> Iterable[str]:
    return _chain(
        "in",
        "type filter hook input priority 0; policy drop;",
        'iifname "lo" accept',
        # From the fabric too: what the workload serves to the mesh is served by its proxy.
        "tcp dport @served counter drop",
        *(["iifname @interfaces accept"] if plan.exclusions.interfaces else []),
        "ip saddr @excluded4 accept",
        "ip6 saddr @excluded6 accept",
        "counter drop",
    )


_FORWARD = ("chain forward {", "  type filter hook forward priority 0; policy drop;", "}")


def _chain(name: str, *rules: str) -> Iterable[str]:
    return (f"chain {name} {{", *(f"  {rule}" for rule in rules), "}")
