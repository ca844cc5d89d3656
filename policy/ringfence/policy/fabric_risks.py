"""What intent permits and that lets tenants or strangers into a job: shared partitions, and rendezvous for many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from ringfence.policy.callers import Source
from ringfence.policy.evaluate import in_force
from ringfence.policy.fabric_lint import RENDEZVOUS, TAKEN_OVER_BY
from ringfence.policy.fabrics import Enforcer, Fabric, Plane
from ringfence.policy.findings import Findings
from ringfence.policy.model import Destination, Effect, Mode, Model, Port, Rule, Workload
from ringfence.policy.scope import matches

# These tell jobs apart by themselves, or it is said already (RF1409) that nothing does.
_NOT_BY_PARTITION = frozenset({Enforcer.IMEX, Enforcer.HOST_FIREWALL, Enforcer.NOTHING})


def note_shared_partitions(model: Model, findings: Findings) -> None:
    """RF1410: of one fabric, or of several that have one partition; on whichever wire, since no document says which."""
    sharing: defaultdict[object, list[Fabric]] = defaultdict(list)
    for fabric in model.fabrics.values():
        if fabric.plane is Plane.FABRIC and fabric.enforced_by not in _NOT_BY_PARTITION:
            sharing[fabric.partition or fabric.key].append(fabric)
    for fabrics in sharing.values():
        tenants = sorted({tenant for fabric in fabrics for tenant in fabric.tenants})
        for fabric in fabrics if len(tenants) > 1 else ():
            where = f"{fabric.partition}" if fabric.partition is not None else "a wire without partitions"
            findings.add("RF1410", fabric.origin, f"{', '.join(tenants)} are in {where} together, by {_keys(fabrics)}")


def note_open_rendezvous(model: Model, now: datetime, findings: Findings) -> None:
    """RF1411: an Allow for many at such a port; or for one that is of no job of the workload that serves it."""
    for rule in model.rules:
        if rule.effect is Effect.ALLOW and rule.mode is Mode.ENFORCE and in_force(rule, now):
            for workload, number in _joined_at(model, rule):
                if strangers := sorted(_strangers(model, rule, workload, now)):
                    told = f"{rule.id} lets {', '.join(strangers)} reach port {number} of {workload.key}"
                    findings.add("RF1411", rule.origin, f"{told}: {TAKEN_OVER_BY[number]}")


def _joined_at(model: Model, rule: Rule) -> Iterator[tuple[Workload, int]]:
    """The ports of that kind to which *rule* leads; whoever may make requests of one only is judged by request."""
    for destination in rule.destinations:
        workload = model.workloads.get(destination.key)
        port = _port(workload, destination)
        if workload is not None and port is not None and not rule.http:
            yield from ((workload, number) for number in sorted(RENDEZVOUS & set(port.numbers)))


def _port(workload: Workload | None, destination: Destination) -> Port | None:
    return workload.port(destination.port) if workload is not None else None


def _strangers(model: Model, rule: Rule, called: Workload, now: datetime) -> Iterator[str]:
    jobs = _jobs(model, Source(called.identity, None), now)
    if rule.plaintext is not None:
        yield "callers without an identity"
    for source in rule.sources:
        if source.identity is None:
            yield _many(source)
        elif source.identity != called.identity and jobs and not jobs & _jobs(model, source, now):
            yield f"{source.identity}, which is of no job of it,"


def _many(source: Source) -> str:
    if source.trust_domain is not None:
        return f"everybody of {source.trust_domain}"
    return f"every workload of {source.namespace}" if source.namespace is not None else "every workload"


def _jobs(model: Model, who: Source, now: datetime) -> set[str]:
    domain = model.mesh.trust_domain
    return {
        grant.job_key
        for grant in model.fabric_grants.values()
        if grant.in_force(now)
        and who.identity is not None
        and any(matches(source, who.identity, domain) for source in grant.sources)
    }


def _keys(fabrics: list[Fabric]) -> str:
    return " and ".join(fabric.key for fabric in fabrics)
