"""A refusal for a limit of requests or connections, told: whose limit it was, and where that is written."""

from __future__ import annotations

from ringfence.admin.v1 import admin_pb2
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import CONNECTION_LIMITED, Destination, Model, Workload
from ringfence.policy.traffic import RATE_LIMITED, RateLimit


def tell_limited(decision: admin_pb2.Decision, model: Model | None) -> None:
    """Add to a *decision* by a limit the document that sets it, as it is in force now: Traffic, or the Workload."""
    if decision.rule not in {RATE_LIMITED, CONNECTION_LIMITED} or model is None:
        return
    try:
        workload = model.workload_of(SpiffeId.parse(decision.destination))
    except RingfenceError:
        return
    port = decision.attributes.get("listener", "").removeprefix("inbound/")
    if workload is not None and decision.rule == CONNECTION_LIMITED:
        _tell_port(decision, workload, port)
        return
    traffic = model.traffic.get(Destination(workload.key, port)) if workload is not None else None
    if traffic is None:
        return
    decision.path, decision.line = traffic.origin.path, traffic.origin.line
    limits = " and ".join(_in_words(limit) for limit in traffic.rate_limits)
    decision.reason = f"rules allow this, and Traffic {traffic.key} lets {limits or 'no such limit any more'}"


def _tell_port(decision: admin_pb2.Decision, workload: Workload, name: str) -> None:
    decision.path, decision.line = workload.origin.path, workload.origin.line
    port = workload.port(name)
    most = port.max_connections if port is not None else 0
    kept = f"{most} connections" if most else "any number of connections by now"
    decision.reason = f"port {name} of {workload.key} keeps {kept} open at once; nobody was asked who calls"


def _in_words(limit: RateLimit) -> str:
    who = "each caller" if limit.by_caller else "all together"
    return f"{who} have {limit.requests} requests every {limit.per.total_seconds():g} s, {limit.burst} at once"
