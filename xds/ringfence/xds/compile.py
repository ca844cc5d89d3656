"""The model compiled for one proxy: pure, so that the same input gives the same bytes on any server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ringfence.policy.model import Model, Workload
from ringfence.policy.scope import upstreams_of
from ringfence.xds.egress import Egress
from ringfence.xds.inbound import inbound
from ringfence.xds.instance import Instance
from ringfence.xds.outbound import Endpoints, outbound
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.telemetry import Reporter


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What holds for all proxies of a server: where their hosts keep the system's trust store (Debian's by default)."""

    system_roots: str = "/etc/ssl/certs/ca-certificates.crt"


def compile_snapshot(
    model: Model,
    workload: Workload,
    instance: Instance,
    endpoints: Endpoints,
    *,
    now: datetime,
    server: ServerFacts | None = None,
) -> Snapshot:
    """What the proxy of *workload* is to hold: what it serves and what it may reach, and nothing else.

    Rules that have expired at *now* (aware, UTC) are left out: compile again at `next_expiry`.
    """
    return Snapshot.of(_resources(model, workload, instance, endpoints, now, server or ServerFacts()), model.revision)


def next_expiry(model: Model, now: datetime) -> datetime | None:
    """When the next rule expires, so that snapshots change without a change of intent; None for never."""
    return min((r.expires for r in model.rules if r.expires is not None and r.expires > now), default=None)


def _resources(
    model: Model, workload: Workload, instance: Instance, endpoints: Endpoints, now: datetime, server: ServerFacts
) -> Iterator[tuple[str, Resource]]:
    reporter = Reporter(workload, instance.node_id)
    egress = Egress(model, workload, reporter, now, server.system_roots)
    upstreams = upstreams_of(model, workload)
    yield from inbound(model, workload, instance, reporter, now)
    for upstream in upstreams:
        address = instance.upstream.get(upstream.name)
        if address is None:
            continue
        if upstream.external:
            yield from egress.upstream(upstream, address)
        else:
            yield from outbound(model, workload, upstream, address, endpoints, reporter)
    if instance.egress is not None:
        yield from egress.forward_proxy([u for u in upstreams if u.external], instance.egress)
