"""Traffic documents as values of the model: every name resolved, and what a port cannot do noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringfence.policy.externals import External
from ringfence.policy.findings import Findings
from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Destination, Protocol
from ringfence.policy.parse import Parsed
from ringfence.policy.part import DestinationRef, HeaderRef
from ringfence.policy.paths import PathPattern
from ringfence.policy.references import Names, References, Steps
from ringfence.policy.resolve import found_by_dns
from ringfence.policy.traffic import (
    Balance,
    HealthCheck,
    Limits,
    Mirror,
    OutlierDetection,
    RateLimit,
    Retries,
    Route,
    RouteMatch,
    Traffic,
    Weight,
    Zones,
)
from ringfence.policy.traffic_document import (
    HealthCheckRef,
    LimitsRef,
    MirrorRef,
    OutlierDetectionRef,
    RateLimitRef,
    RetriesRef,
    RouteMatchRef,
    RouteRef,
    TrafficDocument,
    WeightRef,
    ZonesRef,
)

_OF_THE_MESH = ("routes", "rateLimits", "zones")  # and these mean nothing for a host outside
_OF_KNOWN_HOSTS = ("healthCheck", "outlierDetection", "balance")  # and these for a host with a star
_OF_REQUESTS = ("timeout", "retries", "routes", "rateLimits")  # fields that mean nothing to a plain connection


def traffic_of(document: TrafficDocument, parsed: Parsed, names: Names, findings: Findings) -> Traffic | None:
    """What *document* means; None when its port is not known. Raises nothing: all that is wrong is noted."""
    spec, references = document.spec, References(parsed, names, findings)
    destination = references.destination(("spec", "to"), spec.to)
    if destination is None:
        return None
    protocol = _protocol(destination, names)
    _check_fields(parsed, protocol, findings)
    if destination.key in names.externals:
        _check_outside(parsed, names.externals[destination.key], protocol, findings)
    routes = (_route(route, i, references, protocol) for i, route in enumerate(spec.routes or ()))
    return Traffic(
        namespace=document.metadata.namespace,
        name=document.metadata.name,
        destination=destination,
        timeout=spec.timeout,
        idle_timeout=spec.idle_timeout,
        connect_timeout=spec.connect_timeout,
        retries=_retries(spec.retries) if spec.retries else None,
        outlier_detection=_outliers(spec.outlier_detection) if spec.outlier_detection else None,
        limits=_limits(spec.limits) if spec.limits else None,
        balance=Balance(spec.balance) if spec.balance else None,
        zones=_zones(spec.zones) if spec.zones else None,
        health_check=_health(spec.health_check) if spec.health_check else None,
        routes=tuple(routes),
        rate_limits=tuple(_rate(rate) for rate in spec.rate_limits or ()),
        origin=parsed.origin,
    )


def by_port(found: Iterable[Traffic], findings: Findings) -> dict[Destination, Traffic]:
    """The one Traffic of each port; a second one for the same port is noted and left out."""
    first: dict[Destination, Traffic] = {}
    for traffic in sorted(found, key=lambda each: each.key):
        before = first.setdefault(traffic.destination, traffic)
        if before is not traffic:
            where = f"{traffic.destination.key} port {traffic.destination.port!r}"
            findings.add("RF1209", traffic.origin, f"{where} has the Traffic {before.key} in {before.origin} already")
    return first


def _protocol(destination: Destination, names: Names) -> Protocol:
    owner = names.workloads.get(destination.key) or names.externals[destination.key]
    port = owner.port(destination.port)
    if port is None:
        raise KeyError(destination)  # it was resolved just now
    return port.protocol


def _check_fields(parsed: Parsed, protocol: Protocol, findings: Findings) -> None:
    spec = parsed.node.child("spec") or parsed.node
    for field in _OF_REQUESTS:
        if not protocol.is_http and spec.child(field) is not None:
            _cannot(parsed, ("spec", field), f"{field} needs requests, and the port speaks {protocol.value}", findings)
    health = spec.child("healthCheck")
    plain = protocol.is_http and protocol is not Protocol.GRPC
    for form, fits in (("http", plain), ("grpc", protocol is Protocol.GRPC)):
        if health is not None and health.child(form) is not None and not fits:
            what = f"a check by {form} does not fit a port that speaks {protocol.value}"
            _cannot(parsed, ("spec", "healthCheck", form), what, findings)


def _check_outside(parsed: Parsed, external: External, protocol: Protocol, findings: Findings) -> None:
    spec = parsed.node.child("spec") or parsed.node
    for field in _OF_THE_MESH:
        if spec.child(field) is not None:
            _cannot(parsed, ("spec", field), f"{field} needs proxies of the mesh, and this host is outside", findings)
    if external.dynamic is not None:
        why = f"hosts that are known beforehand, and {external.host} are those that are asked for"
    elif not protocol.is_http and found_by_dns(external):
        why = f"an address that is known beforehand, and {external.host} is looked up for each connection"
    else:
        return
    for field in _OF_KNOWN_HOSTS:
        if spec.child(field) is not None:
            _cannot(parsed, ("spec", field), f"{field} needs {why}", findings)


def _cannot(parsed: Parsed, at: Steps, what: str, findings: Findings) -> None:
    findings.add("RF1210", parsed.node.key_at(*at), what)


def _route(route: RouteRef, index: int, references: References, protocol: Protocol) -> Route:
    at: Steps = ("spec", "routes", index)
    mirror = route.mirror
    target = None if mirror is None else _target((*at, "mirror"), mirror, references, protocol)
    return Route(
        match=tuple(_match(one) for one in route.match or ()),
        split=tuple(_weights(route.split or [], (*at, "split"), references, protocol)),
        mirror=Mirror(target, mirror.percent) if mirror is not None and target is not None else None,
        timeout=route.timeout,
    )


def _weights(split: list[WeightRef], at: Steps, references: References, protocol: Protocol) -> Iterator[Weight]:
    for index, part in enumerate(split):
        destination = _target((*at, index), part, references, protocol)
        if destination is not None:
            yield Weight(destination, part.weight)


def _target(at: Steps, ref: WeightRef | MirrorRef, references: References, protocol: Protocol) -> Destination | None:
    named = DestinationRef(workload=ref.workload, namespace=ref.namespace, port=ref.port)
    destination = references.destination(at, named)
    if destination is None:
        return None
    spoken = _protocol(destination, references.names)
    if spoken is not protocol:
        what = f"{destination.key} speaks {spoken.value} there, and the port of this Traffic {protocol.value}"
        _cannot(references.parsed, at, what, references.findings)
        return None
    return destination


def _match(ref: RouteMatchRef) -> RouteMatch:
    return RouteMatch(
        frozenset(ref.methods or ()),
        tuple(PathPattern(path) for path in ref.paths or ()),
        tuple(_header(header) for header in ref.headers or ()),
    )


def _header(ref: HeaderRef) -> HeaderMatch:
    return HeaderMatch(ref.name, ref.exact, ref.prefix)


def _retries(ref: RetriesRef) -> Retries:
    on = tuple(dict.fromkeys(ref.on or ()))
    return Retries(ref.attempts, on, ref.per_try_timeout, ref.budget.percent, ref.budget.at_least)


def _outliers(ref: OutlierDetectionRef) -> OutlierDetection:
    return OutlierDetection(ref.consecutive_errors, ref.interval, ref.base_ejection_time, ref.max_ejection_percent)


def _limits(ref: LimitsRef) -> Limits:
    return Limits(ref.max_connections, ref.max_pending_requests, ref.max_requests)


def _zones(ref: ZonesRef) -> Zones:
    return Zones(ref.prefer_local, ref.panic_percent)


def _health(ref: HealthCheckRef) -> HealthCheck:
    return HealthCheck(ref.http, ref.grpc, ref.interval, ref.timeout, ref.unhealthy_threshold, ref.healthy_threshold)


def _rate(ref: RateLimitRef) -> RateLimit:
    return RateLimit(ref.requests, ref.per, ref.burst or ref.requests, ref.by == "caller")
