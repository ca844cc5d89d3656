"""Active health checks that the rules of their own port refuse: a check is a request of the caller's like any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.findings import Findings
from ringfence.policy.model import Effect, Mode, Model, Workload
from ringfence.policy.scope import narrowest
from ringfence.policy.traffic import HealthCheck, Traffic

_GRPC = "/grpc.health.v1.Health/Check"  # grpc/health/v1/health.proto
_ALWAYS = datetime.min.replace(tzinfo=UTC)  # nothing has expired by then
_NAMED = 5  # callers that a finding names at most


def lint_health(model: Model, now: datetime | None, findings: Findings) -> None:
    """Notes callers whose checks are refused: to them no replica of the port is ever healthy."""
    for traffic in model.traffic.values():
        asked = _request(traffic.health_check) if traffic.health_check is not None else None
        if asked is None:
            continue
        port = replace(model, rules=tuple(r for r in model.rules if traffic.destination in r.destinations))
        refused = [w.key for w in _callers(port) if not _allowed(port, w, traffic, asked, now or _ALWAYS)]
        if refused:
            what = f"{asked[0]} {asked[1]} at {traffic.destination.key} port {traffic.destination.port!r}"
            findings.add("RF1308", traffic.origin, f"no Allow covers {what} for {', '.join(refused[:_NAMED])}")


def _request(check: HealthCheck) -> tuple[str, str] | None:
    """Method and path of a check; None for one that only connects."""
    if check.http is not None:
        return "GET", check.http
    return ("POST", _GRPC) if check.grpc is not None else None


def _callers(model: Model) -> Iterator[Workload]:
    """Whoever some enforced Allow lets in for something."""
    allows = [rule for rule in model.rules if rule.effect is Effect.ALLOW and rule.mode is Mode.ENFORCE]
    for workload in model.workloads.values():
        if any(narrowest(rule, workload.identity, model.mesh.trust_domain) is not None for rule in allows):
            yield workload


def _allowed(model: Model, caller: Workload, traffic: Traffic, asked: tuple[str, str], now: datetime) -> bool:
    key, port = traffic.destination.key, traffic.destination.port
    return evaluate(model, Request(caller.identity, key, port, now, method=asked[0], path=asked[1])).allowed
