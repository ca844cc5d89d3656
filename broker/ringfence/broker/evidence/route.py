"""Where a request that is asked about would go, and whether it would be let in there: routes permit nothing."""

from __future__ import annotations

from dataclasses import replace

from ringfence.policy.canonical import canonical_path
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import Destination, Model
from ringfence.policy.routes import route_of, targets


def where_to(model: Model, request: Request) -> str:
    """Each target with its share and verdict, and where the route is written; empty where no route takes it."""
    traffic = model.traffic.get(Destination(request.destination, request.port))
    path = canonical_path(request.path) if request.path else None
    if traffic is None or path is None:
        return ""
    route = route_of(traffic, request.method, path, request.headers)
    if route is None:
        return ""
    told = [f"{_named(port)} ({share} %, {_verdict(model, request, port)})" for port, share in targets(traffic, route)]
    if route.mirror is not None:
        target = route.mirror.destination
        told.append(f"a copy of {route.mirror.percent} % to {_named(target)} ({_verdict(model, request, target)})")
    number = traffic.routes.index(route) + 1
    return f"{', '.join(told)}: route {number} of {traffic.key} ({traffic.origin})"


def _named(port: Destination) -> str:
    return f"{port.key}/{port.port}"


def _verdict(model: Model, request: Request, port: Destination) -> str:
    verdict = evaluate(model, replace(request, destination=port.key, port=port.port))
    return f"{'allowed' if verdict.allowed else 'denied'} by {verdict.decided_by}"
