"""What is wrong with fabrics and grants beside each other, and what is right in form but worth a look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_network

from ringfence.policy.fabrics import (
    DEFAULT_PKEY,
    Fabric,
    FabricGrant,
    FabricKind,
    Interface,
    InterfaceForm,
    Partition,
    PartitionKind,
    Plane,
)
from ringfence.policy.findings import Findings

# Kinds of which a wire without partitions is the exception; Ethernet without VLANs is not.
_PARTITIONED = frozenset({FabricKind.INFINIBAND, FabricKind.EFA, FabricKind.SLINGSHOT})
# What listens there asks nobody who he is, or is no part of a collective.
TAKEN_OVER_BY = {
    22: "ssh",
    2222: "the ssh of launchers",
    6379: "Ray's control store",
    8265: "Ray's dashboard",
    28028: "NCCL's RAS",
    29400: "torchrun's rendezvous, which unpickles what it reads",
    29500: "PyTorch's store, which listens on every address",
}
RENDEZVOUS = frozenset(TAKEN_OVER_BY) - {22, 2222}  # where a job is joined, or what it sends is run
_END = "\0"  # of a name that is no beginning of others


def lint_fabrics(
    fabrics: Mapping[str, Fabric],
    grants: Iterable[FabricGrant],
    namespaces: frozenset[str],
    now: datetime | None,
    findings: Findings,
) -> None:
    """Notes what clashes, partitions that part nobody, ports that should be closed, and ended grants (with *now*).

    *namespaces* are those that have workloads.
    """
    _lint_tenants(fabrics.values(), namespaces, findings)
    for fabric in fabrics.values():
        _lint_partition(fabric, findings)
        _lint_ports(fabric, findings)
    for one, other in clashes((_bits(cidr), each.key) for each in fabrics.values() for cidr in each.cidrs):
        findings.add("RF1215", fabrics[other].origin, f"CIDRs of {other} overlap with those of {one}")
    for one, other in _claimed_twice(fabrics.values()):
        findings.add("RF1317", fabrics[other].origin, f"an interface of {other} is one of {one} too")
    for grant in grants:
        if now is not None and not grant.in_force(now):
            findings.add("RF1314", grant.origin, f"{grant.key} expired at {grant.expires.isoformat()}")


def _lint_tenants(fabrics: Iterable[Fabric], namespaces: frozenset[str], findings: Findings) -> None:
    if findings.failed:  # a workload that could not be read may be there
        return
    for fabric in fabrics:
        for tenant in sorted(set(fabric.tenants) - namespaces):
            findings.add("RF1316", fabric.origin, f"no workload is in {tenant}, a tenant of {fabric.key}")


def _lint_partition(fabric: Fabric, findings: Findings) -> None:
    partition = fabric.partition
    if partition is None and fabric.kind in _PARTITIONED:
        findings.add("RF1312", fabric.origin, f"{fabric.key} ({fabric.kind.value}) has no partition of its own")
    if partition is not None and partition.kind is PartitionKind.PKEY and partition.number == DEFAULT_PKEY:
        findings.add("RF1313", fabric.origin, f"{fabric.key} is the partition of everybody")


def _lint_ports(fabric: Fabric, findings: Findings) -> None:
    if fabric.plane is not Plane.FABRIC:
        return
    for port, what in TAKEN_OVER_BY.items():
        if any(port in span for span in fabric.ports):
            findings.add("RF1315", fabric.origin, f"port {port} of {fabric.key} is that of {what}")


def _claimed_twice(fabrics: Iterable[Fabric]) -> Iterator[tuple[str, str]]:
    claims: defaultdict[Partition | None, list[tuple[str, str]]] = defaultdict(list)
    for fabric in fabrics:
        claims[fabric.partition] += [(_claimed(interface), fabric.key) for interface in fabric.interfaces]
    for each in claims.values():
        yield from clashes(each)


def clashes(claims: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of owners one of whose claims begins with one of the other's, so that every owner with such is in a pair.

    A claim is everything that begins with its text. In order, what begins with a text comes right behind it: one look
    at the nearest that holds a claim finds a clash where there is any, without comparing all with all.
    """
    found: set[tuple[str, str]] = set()
    around: list[tuple[str, str]] = []  # the claims that the last one begins with, and itself
    for text, owner in sorted(set(claims)):
        while around and not text.startswith(around[-1][0]):
            around.pop()
        if around and around[-1][1] != owner:
            found.add((around[-1][1], owner))
        around.append((text, owner))
    return sorted(found)


def _bits(cidr: str) -> str:
    """A network as the bits that its addresses begin with, behind the version."""
    network = ip_network(cidr)
    bits = f"{int(network.network_address):0{network.max_prefixlen}b}"
    return f"{network.version}{bits[: network.prefixlen]}"


def _claimed(interface: Interface) -> str:
    if interface.form is InterfaceForm.PREFIX:
        return interface.text
    return f"{_END if interface.form is InterfaceForm.PCI else ''}{interface.text}{_END}"
