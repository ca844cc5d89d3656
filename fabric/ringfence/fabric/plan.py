"""What one node is to hold for a fabric: its interfaces and addresses, who is in which job, and what is refused.

Pure: `plan_routes`, `plan_nft` and `plan_sysctl` make texts of it, and the edge applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node
from ringfence.fabric.plan_links import Address, Gateway, Links
from ringfence.fabric.plan_shared import own_interfaces
from ringfence.fabric.resolve import interfaces_of
from ringfence.policy.fabrics import Fabric, InterfaceForm, Plane

Addresses = tuple[str, ...] | Mapping[str, int]  # of a job; with the end of each, in Unix seconds, 0 for none
_LONGEST_NAME = 15  # IFNAMSIZ without its zero
MOST_NICS = 64  # of one fabric on a node: each has a routing table of its own
# What the kernel is told of each: no other interface answers for its address or sends from it (arp_ignore,
# arp_announce), and what comes in by one of several on one network is taken (rp_filter 2; RFC 3704, loose).
SYSCTLS: Mapping[str, str] = {"arp_ignore": "1", "arp_announce": "2", "rp_filter": "2"}


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface of the fabric, its addresses there, and what its network leads on to."""

    name: str
    addresses: tuple[Address, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    up: bool = True  # the kernel takes no route by one that is down; what has no route is unreachable


@dataclass(frozen=True, slots=True)
class Member:
    """One address of a job, and when the kernel drops it by itself: Unix seconds, 0 for never."""

    address: IPv4Address | IPv6Address
    until: int = 0


@dataclass(frozen=True, slots=True)
class Members:
    """The addresses of one job, over all nodes; none: nobody."""

    job: str  # NAMESPACE/JOB
    members: tuple[Member, ...] = ()  # by address

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Them without their ends."""
        return tuple(one.address for one in self.members)


@dataclass(frozen=True, slots=True)
class FabricPlan:
    """A fabric on one node."""

    fabric: Fabric
    nics: tuple[Nic, ...]  # in the order that intent names them
    members: tuple[Members, ...]  # by job
    denied: tuple[str, ...] = ()  # names and prefixes (`ib*`) of interfaces, those that are to come among them

    @property
    def own(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The node's own addresses on the fabric."""
        return tuple(address.ip for nic in self.nics for address in nic.addresses)


def plan_node(
    fabric: Fabric, node: Node, links: Links, jobs: Mapping[str, Addresses], others: Iterable[Fabric] = ()
) -> FabricPlan:
    """*fabric* on a node, with *jobs* that may use it and the addresses of each, with their ends where they have any.

    *others* are fabrics that the node is to hold too, which may name the same interfaces. Raises INVALID for what
    cannot be planned, NOT_FOUND where the node has none of its interfaces, CONFLICT where an interface or a network of
    it carries the node's other traffic or that of another fabric, or an address would join two tenants.
    """
    # 1. Only what collectives are for: storage and management stay as they are.
    if fabric.plane is not Plane.FABRIC:
        raise _refused(Kind.INVALID, fabric, f"is of the plane {fabric.plane.value}", "Name one of the plane fabric")
    # 2. All that it has on this node; loopback is never among them (the document's own check).
    names = own_interfaces(fabric, interfaces_of(fabric, node), links, others)
    if not names:
        raise _refused(Kind.NOT_FOUND, fabric, "has no network interface on this node", "Run it on a node of it")
    if len(names) > MOST_NICS:
        raise _refused(Kind.INVALID, fabric, f"has {len(names)} interfaces here, more than {MOST_NICS}", "Name fewer")
    # 3. Denied by default, the way to this node would be cut.
    _check_control(fabric, names, links)
    nics = tuple(_nic(fabric, name, links) for name in names)
    return FabricPlan(fabric, nics, members_of(fabric, jobs), _denied(fabric, node, names))


def _denied(fabric: Fabric, node: Node, names: tuple[str, ...]) -> tuple[str, ...]:
    """All that the document names, as nft takes it: an interface that comes later finds the filter there already.

    Not what the node has under that name and is no interface of the fabric (RDMA of another link layer), and no PCI
    address, since of an interface that is not there the kernel knows no name.
    """
    wide = [
        one.text
        for one in fabric.interfaces
        if one.form is InterfaceForm.PREFIX
        and len(one.text) < _LONGEST_NAME
        and all(held.name in names for held in node.interfaces if one.takes(held.name))
    ]
    here = {one.name for one in node.interfaces}
    named = [one.text for one in fabric.interfaces if one.form is InterfaceForm.NAME and one.text not in here]
    exact = dict.fromkeys((*names, *(name for name in named if len(name) <= _LONGEST_NAME)))
    # One element may not lie within another.
    kept = [text for text in dict.fromkeys(wide) if not any(text != one and text.startswith(one) for one in wide)]
    return (*(f"{text}*" for text in kept), *(name for name in exact if not any(map(name.startswith, kept))))


def _check_control(fabric: Fabric, names: tuple[str, ...], links: Links) -> None:
    for one in links.gateways:
        if one.destination == "default" and one.device in names:
            why = f"has {one.device}, by which this node's default route leads: it would be cut off"
            raise _refused(Kind.CONFLICT, fabric, why, "Give the fabric an interface that carries nothing else")
    for name, address in links.addresses:
        if name not in names and _within(fabric, address.ip):
            why = f"has the network of {address} on {name}, which is no interface of it"
            raise _refused(Kind.CONFLICT, fabric, why, "Name that interface in the document, or correct its cidrs")


def _nic(fabric: Fabric, name: str, links: Links) -> Nic:
    """With its addresses in the fabric's networks, all where it names none, and the gateways to the rest of these."""
    held = tuple(
        address
        for device, address in links.addresses
        if device == name and (not fabric.cidrs or _within(fabric, address.ip))
    )
    on = tuple(one for one in links.gateways if one.device == name and one.via and _part(fabric, one.destination))
    return Nic(name, held, on, name not in links.down)


def members_of(fabric: Fabric, jobs: Mapping[str, Addresses]) -> tuple[Members, ...]:
    """Of each job, once; an address that two tenants share would let the one's ranks reach the other's.

    Raises INVALID for what is no address of the fabric, CONFLICT for such a one.
    """
    found = tuple(Members(job, _with_ends(fabric, job, texts)) for job, texts in sorted(jobs.items()))
    owner: dict[IPv4Address | IPv6Address, str] = {}
    for members in found:
        tenant = members.job.partition("/")[0]
        for address in members.addresses:
            if owner.setdefault(address, tenant) != tenant:
                why = f"would have {address} in jobs of two tenants, {owner[address]} and {tenant}"
                raise _refused(Kind.CONFLICT, fabric, why, "Give the ranks of each an address of their own")
    return found


def _with_ends(fabric: Fabric, job: str, texts: Addresses) -> tuple[Member, ...]:
    ends = texts if isinstance(texts, Mapping) else dict.fromkeys(texts, 0)
    members = {Member(_member(fabric, job, text), until) for text, until in ends.items()}
    return tuple(sorted(members, key=lambda one: (one.address.version, int(one.address))))


_address = lru_cache(maxsize=16_384)(ip_address)  # of members, nearly all of which were there before


def _member(fabric: Fabric, job: str, text: str) -> IPv4Address | IPv6Address:
    try:
        address = _address(text)
    except ValueError:
        raise _refused(Kind.INVALID, fabric, f"takes no member {text!r} of {job}", "Write an IP address") from None
    scoped = isinstance(address, IPv6Address) and address.scope_id is not None
    if scoped or not _within(fabric, address):
        networks = ", ".join(fabric.cidrs) or "none"
        raise _refused(
            Kind.INVALID, fabric, f"has no address {text} for {job}: its networks are {networks}", "Correct it"
        )
    return address


def _within(fabric: Fabric, address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _networks(fabric.cidrs))


@lru_cache(maxsize=64)  # asked for each of thousands of members, at each change of one
def _networks(cidrs: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, cidrs))


def _part(fabric: Fabric, destination: str) -> bool:
    try:
        network = ip_network(destination)
    except ValueError:  # `default`
        return False
    return any(
        network.version == cidr.version and network.subnet_of(cidr)  # type: ignore[arg-type]
        for cidr in map(ip_network, fabric.cidrs)
    )


def _refused(kind: Kind, fabric: Fabric, why: str, hint: str) -> RingfenceError:
    return RingfenceError(kind, f"fabric {fabric.key} {why}", where=str(fabric.origin), hint=hint)
