"""A fabric on one node: which of the node's devices it has, and what the libraries are to be told of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node, RdmaPort
from ringfence.fabric.pkeys import index_of
from ringfence.policy.fabrics import Fabric, FabricKind, PartitionKind, Plane, PortSpan

LINK_LAYERS = {
    FabricKind.INFINIBAND: "InfiniBand",
    FabricKind.ROCE: "Ethernet",
    FabricKind.EFA: "Unspecified",
    FabricKind.SLINGSHOT: "Slingshot",
}
MOST_SOCKETS = 16  # MAX_IFS of NCCL: what is more of NCCL_SOCKET_IFNAME is left out without a word
MOST_PORTS = 32  # MAX_IB_DEVS of NCCL, for NCCL_IB_HCA
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")  # what no library takes for part of a list, a port or a shell


@dataclass(frozen=True, slots=True)
class Resolved:
    """The devices of a fabric on a node, in the order that its intent names them."""

    kind: FabricKind
    ports: tuple[RdmaPort, ...]  # none of tcp and nvlink
    sockets: tuple[str, ...]  # interfaces that sockets of the job use: the fabric's, else the one to bootstrap on
    on_fabric: bool  # whether these are the fabric's
    family: str  # AF_INET, AF_INET6, or empty where the fabric has both or no address
    network: str  # the one network that all addresses of a RoCE fabric are in
    pkey: int | None  # the value, 15 bits
    pkey_index: int  # of that value, on each port
    span: PortSpan | None  # TCP ports that sockets on the fabric may use

    @property
    def devices(self) -> tuple[str, ...]:
        """The RDMA devices by name, each once."""
        return tuple(dict.fromkeys(port.device for port in self.ports))


def resolve(fabric: Fabric, node: Node, bootstrap: str = "") -> Resolved:
    """*fabric* on *node*; *bootstrap* is an interface off the fabric for what only agrees on connections.

    Raises NOT_FOUND for a device that the node does not have, INVALID for what no library can be told, CONFLICT where
    ports differ in what one variable says for all of them.
    """
    if fabric.plane is not Plane.FABRIC:
        raise _invalid(fabric, f"is of the plane {fabric.plane.value}, which no collective may use", "Name another one")
    own, ports = interfaces_of(fabric, node), _ports(fabric, node)
    pkey = _pkey(fabric)
    return Resolved(
        kind=fabric.kind,
        ports=ports,
        sockets=_sockets(fabric, node, own, bootstrap),
        on_fabric=bool(own and fabric.ports and not bootstrap),
        family=_family(fabric.cidrs),
        network=_network(fabric) if fabric.kind is FabricKind.ROCE else "",
        pkey=pkey,
        pkey_index=0 if pkey is None else index_of(pkey, ports),
        span=max(fabric.ports, key=lambda span: span.last - span.first, default=None),
    )


def interfaces_of(fabric: Fabric, node: Node) -> tuple[str, ...]:
    """Network interfaces that the intent names, and those of RDMA devices that it names; not of another link layer."""
    layer = LINK_LAYERS.get(fabric.kind)
    of_devices = {name: port for port in node.rdma for name in port.interfaces}
    found: dict[str, None] = {}
    for wanted in fabric.interfaces:
        for one in node.interfaces:
            port = of_devices.get(one.name)
            if port and layer and port.link_layer != layer:
                continue
            if wanted.takes(one.name, one.pci) or (port and wanted.takes(port.device, port.pci)):
                found[_plain(one.name)] = None
    return tuple(found)


def _ports(fabric: Fabric, node: Node) -> tuple[RdmaPort, ...]:
    """RDMA ports that the intent names by their device, its PCI address or its network interface."""
    layer = LINK_LAYERS.get(fabric.kind)
    if layer is None:
        return ()
    found: dict[RdmaPort, None] = {}
    for wanted in fabric.interfaces:
        for port in node.rdma:
            names = (port.device, *port.interfaces)
            if port.link_layer == layer and any(wanted.takes(name, port.pci) for name in names):
                found[port] = None
    for port in found:
        _plain(port.device)
    if not found:
        raise _absent(fabric, f"no {layer} port", (f"{port} ({port.link_layer})" for port in node.rdma))
    if len(found) > MOST_PORTS:
        what = f"has {len(found)} RDMA ports on this node, and NCCL takes {MOST_PORTS}"
        raise _invalid(fabric, what, "Name fewer, or make two fabrics of them")
    return tuple(found)


def _sockets(fabric: Fabric, node: Node, own: Sequence[str], bootstrap: str) -> tuple[str, ...]:
    if fabric.kind is FabricKind.TCP:
        return _data_sockets(fabric, node, own, bootstrap)
    if bootstrap:
        _exists(bootstrap, node)
        return (_plain(bootstrap),)
    if own and fabric.ports:
        return tuple(own)
    if fabric.kind is FabricKind.NVLINK:
        return ()
    why = "permits no ports to sockets" if own else "has no network interface on this node"
    hint = "Name the interface to bootstrap on with --bootstrap, or give the fabric an interface and ports"
    raise _invalid(fabric, f"{why}, and NCCL's ranks find each other by TCP", hint)


def _data_sockets(fabric: Fabric, node: Node, own: Sequence[str], bootstrap: str) -> tuple[str, ...]:
    if bootstrap:
        what = "carries collectives by TCP, and NCCL has one list of interfaces for all its sockets"
        raise _invalid(fabric, what, "Leave --bootstrap out")
    if not fabric.ports:
        raise _invalid(fabric, "carries collectives by TCP and permits no ports", "Write which ports a job may use")
    if not own:
        raise _absent(fabric, "no interface", (one.name for one in node.interfaces))
    if len(own) > MOST_SOCKETS:
        what = f"has {len(own)} interfaces on this node, and NCCL takes {MOST_SOCKETS}"
        raise _invalid(fabric, what, "Name fewer, or make two fabrics of them")
    return tuple(own)


def _exists(name: str, node: Node) -> None:
    if name not in {one.name for one in node.interfaces}:
        held = ", ".join(one.name for one in node.interfaces) or "none"
        raise RingfenceError(Kind.NOT_FOUND, f"this node has no interface {name}; it has {held}", hint="Name one")


def _absent(fabric: Fabric, what: str, held: Iterable[str]) -> RingfenceError:
    wanted = ", ".join(map(str, fabric.interfaces))
    return RingfenceError(
        Kind.NOT_FOUND,
        f"fabric {fabric.key} has {what} on this node: it is {wanted}, and the node has {', '.join(held) or 'none'}",
        where=str(fabric.origin),
        hint="Run it on a node of the fabric, or name another /sys with --sys",
    )


def _invalid(fabric: Fabric, what: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"fabric {fabric.key} {what}", where=str(fabric.origin), hint=hint)


def _plain(name: str) -> str:
    if not _PLAIN.fullmatch(name):
        detail = f"interface {name!r} has a character that lists of interfaces give a meaning"
        raise RingfenceError(Kind.INVALID, detail, hint="Rename it to letters, digits, '_', '.' and '-'")
    return name


def _pkey(fabric: Fabric) -> int | None:
    partition = fabric.partition
    return partition.number if partition is not None and partition.kind is PartitionKind.PKEY else None


def _family(cidrs: Sequence[str]) -> str:
    versions = {ip_network(cidr).version for cidr in cidrs}
    if len(versions) != 1:
        return ""
    return "AF_INET" if 4 in versions else "AF_INET6"  # noqa: PLR2004  # IPv4


def _network(fabric: Fabric) -> str:
    """The network of NCCL_IB_ADDR_RANGE, which is one: it says which of a port's GIDs is the fabric's."""
    networks = [ip_network(cidr) for cidr in fabric.cidrs]
    four = list(collapse_addresses(one for one in networks if isinstance(one, IPv4Network)))
    six = list(collapse_addresses(one for one in networks if isinstance(one, IPv6Network)))
    if len(four) + len(six) != 1:
        what = f"has {len(four) + len(six)} networks, and NCCL_IB_ADDR_RANGE takes one"
        hint = "GIDs are chosen by it: write the one CIDR that holds all addresses, or a fabric for each"
        raise _invalid(fabric, what, hint)
    return str((four or six)[0])
