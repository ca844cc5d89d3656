"""What gRPC cannot say of a workload's part of the intent, and what happens instead: never more than was allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ringfence.policy.model import Destination, Effect, Mode, Model, Protocol, Rule, Workload
from ringfence.policy.plaintext import taken_at
from ringfence.policy.scope import upstreams_of
from ringfence.xds.proxyless.client import prefers_near
from ringfence.xds.proxyless.requests import unsayable
from ringfence.xds.rbac import PortRules

_SAFE = {Effect.ALLOW: "the Allow lets nobody in by it", Effect.DENY: "the Deny holds without it"}


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that is not said as it was meant: of what, and how it is held instead."""

    subject: str  # a rule's id, a port, a SPIFFE ID
    what: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}"


def losses(model: Model, workload: Workload, now: datetime) -> tuple[Loss, ...]:
    """All of them, in order, each once."""
    return tuple(dict.fromkeys([*_of_ports(model, workload, now), *_of_upstreams(model, workload)]))


def _of_ports(model: Model, workload: Workload, now: datetime) -> Iterator[Loss]:
    for port in workload.serves:
        if port.protocol is not Protocol.GRPC:
            yield Loss(port.name, f"{port.protocol.value} needs a proxy to be served")
            continue
        yield from _of_traffic(model, Destination(workload.key, port.name))
        if taken_at(port, now) is not None:
            yield Loss(port.name, "callers without mutual TLS are refused: plaintext needs a proxy")
        if port.max_connections:
            yield Loss(port.name, "maxConnections is held by proxies only")
        here = PortRules.at(model, Destination(workload.key, port.name), now)
        for rule in (*here.deny, *here.allow, *here.shadow_deny, *here.shadow_allow):
            yield from _of_rule(rule)
            if any(source.cidrs for source in rule.sources):
                yield Loss(rule.id, f"cidrs cannot be asked for, so {_SAFE[rule.effect]}")
            if any(source.foreign(model.mesh.trust_domain) for source in rule.sources):
                yield Loss(rule.id, "callers of another trust domain are let in by the bundle map only")
        for name, caller in sorted(here.revoked.items()):
            if not caller.whole and caller.in_force(now):
                yield Loss(name, "one of its certificates is revoked, so all of them are refused")


def _of_rule(rule: Rule) -> Iterator[Loss]:
    if rule.mode is Mode.SHADOW:
        yield Loss(rule.id, "a rule in shadow mode is not judged")
        return
    for condition in unsayable(rule):
        yield Loss(rule.id, f"{condition} cannot be asked for, so {_SAFE[rule.effect]}")


def _of_upstreams(model: Model, workload: Workload) -> Iterator[Loss]:
    for upstream in upstreams_of(model, workload):
        if upstream.external:
            yield Loss(upstream.name, "a host outside the mesh needs a proxy to be reached")
        elif upstream.protocol is not Protocol.GRPC:
            yield Loss(upstream.name, f"{upstream.protocol.value} needs a proxy to be reached")
        else:
            port = Destination(upstream.key, upstream.port)
            yield from _of_traffic(model, port, ", but for zones.preferLocal" if prefers_near(model, port) else "")


def _of_traffic(model: Model, port: Destination, but: str = "") -> Iterator[Loss]:
    traffic = model.traffic.get(port)
    if traffic is not None:
        told = f"Traffic of {port.key}/{port.port} is followed by proxies only{but}"
        yield Loss(f"{traffic.namespace}/{traffic.name}", told)
