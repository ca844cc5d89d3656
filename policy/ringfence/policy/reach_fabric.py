"""What grants let two workloads do on a fabric, and what keeps them apart there without one.

Sockets and the data of verbs are told apart: a packet filter of the node sees the former, and what keeps strangers off
the latter is what the fabric's document names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ringfence.policy.fabrics import Enforcer, Fabric, FabricGrant, FabricKind, Plane
from ringfence.policy.model import Model, Workload
from ringfence.policy.revoked import is_revoked
from ringfence.policy.scope import matches
from ringfence.policy.way import Leg, Line, Reached, Way

_FILTER = "the packet filter of each node, by members of one job, where an agent or `ringfence fabric apply` keeps it"
_BY = {
    Enforcer.PKEY: "subnet manager, switches and adapters",
    Enforcer.SWITCH_ACL: "access lists of the switches",
    Enforcer.TC_OFFLOAD: "flow rules on the representor, in the adapter",
    Enforcer.SECURITY_GROUP: "the cloud's security group, at the interface",
    Enforcer.VNI: "adapters and switches",
    Enforcer.RDMA_NETNS: "the kernel, which shows a device in one network namespace",
    Enforcer.IMEX: "the driver of NVLink, a channel for each job",
    Enforcer.HOST_FIREWALL: _FILTER,
    Enforcer.NOTHING: "nothing",
}
# What of itself tells jobs from each other, and not only tenants of the wire from strangers.
_BY_JOB = frozenset({Enforcer.IMEX, Enforcer.HOST_FIREWALL})
_PARTITIONING = frozenset(
    {Enforcer.PKEY, Enforcer.SWITCH_ACL, Enforcer.TC_OFFLOAD, Enforcer.SECURITY_GROUP, Enforcer.VNI}
)


def by_fabric(model: Model, caller: Workload, called: Workload, number: int, now: datetime) -> Iterator[Leg]:
    """The legs on every fabric, to TCP port *number* where it is not 0."""
    for fabric in model.fabrics.values():
        if fabric.plane is Plane.FABRIC:
            here, there = (_grants(model, fabric, one) for one in (caller, called))
            if not fabric.kind.seen_by_host:
                yield _data(fabric, here, there, now)
            if fabric.kind is not FabricKind.NVLINK:  # which has no addresses
                yield _sockets(fabric, here, there, number, now)


def _grants(model: Model, fabric: Fabric, workload: Workload) -> tuple[FabricGrant, ...]:
    """Those that name it, ended ones too; who is revoked has none."""
    identity = workload.identity
    if is_revoked(model.revoked, identity):
        return ()
    return tuple(
        one
        for one in model.fabric_grants.values()
        if one.fabric == fabric.key and any(matches(s, identity, model.mesh.trust_domain) for s in one.sources)
    )


def _common(here: tuple[FabricGrant, ...], there: tuple[FabricGrant, ...], now: datetime) -> set[str]:
    """Jobs that both take part in now."""
    jobs = [{one.job_key for one in side if one.in_force(now)} for side in (here, there)]
    return jobs[0] & jobs[1]


def _data(fabric: Fabric, here: tuple[FabricGrant, ...], there: tuple[FabricGrant, ...], now: datetime) -> Leg:
    """Verbs: partitions, groups and channels are all that there is."""
    target, by = f"{fabric.key} data ({fabric.kind.value})", _enforcer(fabric)
    lines = _lines(fabric, here, there, now)
    jobs = _common(here, there, now)
    if jobs:
        return Leg(Way.FABRIC, target, Reached.ALLOW, by, f"both are of {_jobs(jobs)}", lines)
    if fabric.enforced_by is Enforcer.NOTHING:
        return Leg(Way.FABRIC, target, Reached.UNKNOWN, by, "whoever is on the wire is in", lines)
    on_it = all(any(one.in_force(now) for one in side) for side in (here, there))
    if on_it and fabric.enforced_by not in _BY_JOB:
        why = "they are of different jobs, and both are on the fabric: nothing tells jobs apart there"
        return Leg(Way.FABRIC, target, Reached.UNKNOWN, by, why, lines)
    return Leg(Way.FABRIC, target, Reached.DENY, by, "no grant in force lets both take part in one job", lines)


def _sockets(
    fabric: Fabric, here: tuple[FabricGrant, ...], there: tuple[FabricGrant, ...], number: int, now: datetime
) -> Leg:
    """TCP: members of one job, on the fabric's ports."""
    target = f"{fabric.key} tcp {number or ' '.join(map(str, fabric.ports)) or 'any'}"
    lines, jobs = _lines(fabric, here, there, now), _common(here, there, now)
    by = "; ".join(dict.fromkeys((_FILTER, _enforcer(fabric))))
    if not fabric.ports or (number and not any(number in span for span in fabric.ports)):
        open_ones = " ".join(map(str, fabric.ports)) or "none"
        return Leg(Way.FABRIC, target, Reached.DENY, _FILTER, f"the fabric's ports are {open_ones}", lines)
    if jobs:
        return Leg(Way.FABRIC, target, Reached.ALLOW, by, f"both are of {_jobs(jobs)}", lines)
    if fabric.enforced_by is Enforcer.NOTHING:
        return Leg(Way.FABRIC, target, Reached.UNKNOWN, "nothing", "whoever is on the wire is in", lines)
    return Leg(Way.FABRIC, target, Reached.DENY, by, "no grant in force lets both take part in one job", lines)


def _enforcer(fabric: Fabric) -> str:
    """In whose words, and of which partition where it is a partition that tells."""
    by = fabric.enforced_by
    if by in {Enforcer.NOTHING, Enforcer.HOST_FIREWALL}:
        return _BY[by]
    partition = str(fabric.partition) if fabric.partition is not None and by in _PARTITIONING else by.value
    return f"{partition}: {_BY[by]}"


def _jobs(jobs: set[str]) -> str:
    return f"job {' and '.join(sorted(jobs))}"


def _lines(
    fabric: Fabric, here: tuple[FabricGrant, ...], there: tuple[FabricGrant, ...], now: datetime
) -> tuple[Line, ...]:
    said = f"{fabric.kind.value}, enforced by {fabric.enforced_by.value}"
    grants = sorted({one.key: one for one in (*here, *there)}.items())
    return (
        Line(f"Fabric {fabric.key}", fabric.origin, said),
        *(Line(f"FabricGrant {key}", one.origin, _of(one, here, there, now)) for key, one in grants),
    )


def _of(grant: FabricGrant, here: tuple[FabricGrant, ...], there: tuple[FabricGrant, ...], now: datetime) -> str:
    whose = "both" if grant in here and grant in there else "the caller" if grant in here else "the called"
    end = f"until {grant.expires.isoformat()}" if grant.in_force(now) else f"ended {grant.expires.isoformat()}"
    return f"{whose}, job {grant.job_key}, {end}"
