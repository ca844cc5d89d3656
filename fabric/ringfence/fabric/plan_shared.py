"""Whose an interface is that several fabrics name: the one's whose networks its addresses are in; pure.

Zones call their interfaces alike, and a beginning of names takes those of partitions too. A filter denies all that is
none of its fabric's, so that two of them on one interface would cut off each other's members.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.plan_links import Links
from ringfence.policy.fabrics import Fabric, Plane


def own_interfaces(fabric: Fabric, names: Iterable[str], links: Links, others: Iterable[Fabric]) -> tuple[str, ...]:
    """Those of *names* that are no other's: without an address anywhere it may be of each that names it.

    Raises CONFLICT for one with addresses of *fabric* and of another one that comes first by key, which has it.
    """
    beside = [one for one in others if one.key != fabric.key and one.plane is Plane.FABRIC]
    return tuple(name for name in names if _is_own(fabric, name, links, beside))


def _is_own(fabric: Fabric, name: str, links: Links, others: Iterable[Fabric]) -> bool:
    theirs = [other for other in others if _has_address(other, name, links)]
    if not theirs or not _has_address(fabric, name, links):
        return not theirs
    first = min(theirs, key=lambda other: other.key)
    if first.key < fabric.key:
        raise RingfenceError(
            Kind.CONFLICT,
            f"fabric {fabric.key} has {name} on this node together with {first.key}",
            where=str(fabric.origin),
            hint="Give each an interface of its own, as that of a VLAN or of a partition key (ib0.8012)",
        )
    return True


def _has_address(fabric: Fabric, name: str, links: Links) -> bool:
    networks = [ip_network(cidr) for cidr in fabric.cidrs]
    return any(
        address.ip in network
        for device, address in links.addresses
        for network in networks
        if device == name and network.version == address.version
    )
