"""The model compiled for one proxy: pure, so that the same input gives the same bytes on any server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ringfence.policy.model import Destination, Model, Workload
from ringfence.policy.revoked import among, is_revoked
from ringfence.policy.scope import Upstream, routed, upstreams_of
from ringfence.xds.capture import captured, dialled
from ringfence.xds.egress import Egress
from ringfence.xds.inbound import inbound
from ringfence.xds.instance import Instance
from ringfence.xds.outbound import Endpoints, outbound, towards
from ringfence.xds.proxyless.compile import proxyless
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.telemetry import Reporter
from ringfence.xds.virtual import places


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

    A gRPC library that has no proxy gets the same policy in its own dialect.

    Rules that have expired at *now* (aware, UTC) are left out: compile again at `next_expiry`.
    """
    if instance.proxyless:
        return Snapshot.of(proxyless(model, workload, instance, endpoints, now=now), model.revision)
    facts = server or ServerFacts()
    if instance.capture is None:
        return Snapshot.of(_resources(model, workload, instance, endpoints, now, facts), model.revision)
    where = places(model, upstreams_of(model, workload))
    found = _resources(model, workload, dialled(instance, where), endpoints, now, facts)
    reporter = Reporter(workload, instance.node_id)
    found = captured(found, instance.capture, where, instance.upstream, reporter)
    return Snapshot.of(found, model.revision)


def next_expiry(model: Model, now: datetime) -> datetime | None:
    """When the next rule, plaintext or revoked certificate ends, so that snapshots change without intent.

    None for never.
    """
    ends = [each.ends for each in model.revoked.values()] + [rule.expires for rule in model.rules]
    ports = (port for workload in model.workloads.values() for port in workload.serves)
    ends += [port.plaintext.until for port in ports if port.plaintext is not None]
    return min((end for end in ends if end is not None and end > now), default=None)


def _resources(
    model: Model, workload: Workload, instance: Instance, endpoints: Endpoints, now: datetime, server: ServerFacts
) -> Iterator[tuple[str, Resource]]:
    reporter = Reporter(workload, instance.node_id)
    egress = Egress(model, workload, reporter, now, server.system_roots)
    upstreams = upstreams_of(model, workload)
    here = [upstream for upstream in upstreams if upstream.name in instance.upstream]
    yield from inbound(model, workload, instance, reporter, now)
    for upstream in here:
        if upstream.external:
            yield from egress.upstream(upstream, instance.upstream[upstream.name])
        else:
            yield from _outbound(model, workload, upstream, instance, endpoints, reporter)
    for port in _routed(model, here):
        yield from towards(model, workload, port, endpoints, instance.locality)
    if instance.egress is not None:
        yield from egress.forward_proxy([u for u in upstreams if u.external], instance.egress)


def _outbound(
    model: Model, workload: Workload, upstream: Upstream, instance: Instance, endpoints: Endpoints, reporter: Reporter
) -> list[tuple[str, Resource]]:
    """An upstream's resources, made anew only where something differs that they are made of: no rule is."""
    port, served = Destination(upstream.key, upstream.port), model.workloads[upstream.key]
    there = endpoints.get((upstream.key, upstream.port), ())
    gone = among(model.revoked, (served.identity,)), model.tainted
    made_of = (workload, upstream, served, model.traffic.get(port), there, gone, instance.upstream[upstream.name])
    return instance.made.again(
        upstream.name,
        made_of,
        lambda: list(outbound(model, workload, upstream, instance, endpoints, reporter)),
    )


def _routed(model: Model, upstreams: list[Upstream]) -> Iterator[Destination]:
    """Where routes lead beside the upstreams themselves; towards a revoked identity there is no cluster: 503."""
    for port in routed(model, upstreams):
        if not is_revoked(model.revoked, model.workloads[port.key].identity):
            yield port
