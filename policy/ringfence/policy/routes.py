"""Where the routes of a Traffic send a request, and callers that a route leads to where nothing lets them in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.findings import Findings
from ringfence.policy.headers import HeaderMatch, Headers
from ringfence.policy.model import Destination, Effect, Mode, Rule
from ringfence.policy.scope import matches
from ringfence.policy.traffic import Route, RouteMatch, Traffic

_NAMED = 5  # callers that a finding names at most


def route_of(traffic: Traffic, method: str, path: str, headers: Headers = ()) -> Route | None:
    """The first route that takes a request with this canonical path; None when it goes to the port itself."""
    for route in traffic.routes:
        if not route.match or any(_matches(match, method, path, headers) for match in route.match):
            return route
    return None


def targets(traffic: Traffic, route: Route | None) -> tuple[tuple[Destination, int], ...]:
    """Where requests of *route* go, with the percentage of each; copies are not among them."""
    if route is None or not route.split:
        return ((traffic.destination, 100),)
    whole = sum(part.weight for part in route.split)
    return tuple((part.destination, round(100 * part.weight / whole)) for part in route.split if part.weight)


def lint_routes(found: Iterable[Traffic], rules: Iterable[Rule], own: TrustDomain, findings: Findings) -> None:
    """Notes callers that may call a port and are let in nowhere that one of its routes leads to: 403 there."""
    allowed: dict[Destination, set[Source]] = {}
    for rule in rules:
        if rule.effect is Effect.ALLOW and rule.mode is Mode.ENFORCE:
            for destination in rule.destinations:
                allowed.setdefault(destination, set()).update(rule.sources)
    for traffic in found:
        callers = allowed.get(traffic.destination, set())
        for target in sorted(traffic.reached(), key=lambda port: (port.key, port.port)):
            there = allowed.get(target, set())
            missing = sorted(_name(caller) for caller in callers if not _covered(caller, there, own))
            if missing:
                what = f"its routes lead to {target.key} port {target.port!r}, where no Allow lets in"
                findings.add("RF1307", traffic.origin, f"{what} {', '.join(missing[:_NAMED])}")


def _matches(match: RouteMatch, method: str, path: str, headers: Headers) -> bool:
    return (
        (not match.methods or method in match.methods)
        and (not match.paths or any(pattern.matches(path) for pattern in match.paths))
        and all(_holds(header, headers) for header in match.headers)
    )


def _holds(header: HeaderMatch, lines: Headers) -> bool:
    """As Envoy's routes see it: the lines of one name joined by commas are one value."""
    values = [value for name, value in lines if name == header.name]
    joined = ",".join(values)
    if header.exact is not None:
        return bool(values) and joined == header.exact
    return bool(values) and joined.startswith(header.prefix or "")


def _covered(caller: Source, allowed: set[Source], own: TrustDomain) -> bool:
    """Whether everybody that *caller* means is let in by one of *allowed*, from wherever *caller* may call."""
    if caller in allowed:
        return True
    if caller.identity is not None:
        return any(not source.cidrs and matches(source, caller.identity, own) for source in allowed)
    anywhere = replace(caller, cidrs=())
    return anywhere in allowed or (caller.trust_domain is None and Source(None, None) in allowed)


def _name(source: Source) -> str:
    if source.identity is not None:
        return str(source.identity)
    if source.trust_domain is not None:
        return str(source.trust_domain)
    return f"namespace {source.namespace}" if source.namespace is not None else "all"
