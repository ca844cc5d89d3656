"""The part of a model that one workload's proxies depend on: they are compiled from it alone, again when it changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.model import Destination, External, Model, RevokedCaller, Rule, Workload
from ringfence.policy.revoked import meant
from ringfence.policy.scope import Upstream, routed, upstreams_of
from ringfence.policy.traffic import Traffic
from ringfence.policy.wildcard import within
from ringfence.xds.compile import next_expiry

# As a Source: an identity, or a namespace, or neither; callers of another trust domain are nobody's proxies.
_Reach = tuple[SpiffeId | None, str | None, TrustDomain | None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a proxy is compiled from. Two scopes are equal when they mean the same, whatever the revision.

    `model` holds nothing that the workload has no business with, so that what is not compared cannot be compiled in.
    """

    workload: Workload
    model: Model = field(compare=False)
    upstreams: tuple[Upstream, ...]
    routed: tuple[Destination, ...]  # ports that routes of the upstreams lead to beside
    parts: tuple[object, ...]
    expired: frozenset[str]  # ids of its rules that no longer hold, and who is not revoked any more


class Scopes:
    """The scopes of one model at one time, each made once."""

    def __init__(self, model: Model, now: datetime) -> None:
        self.model = model
        self._now = now
        self._into: defaultdict[str, list[Rule]] = defaultdict(list)
        self._from: defaultdict[_Reach, list[Rule]] = defaultdict(list)
        self._by_id = {workload.spiffe_id: workload for workload in model.workloads.values()}
        self._made: dict[str, Scope] = {}
        for rule in model.rules:
            for key in {destination.key for destination in rule.destinations}:
                self._into[key].append(rule)
            for reach in {(source.identity, source.namespace, source.trust_domain) for source in rule.sources}:
                self._from[reach].append(rule)

    def workload(self, spiffe_id: SpiffeId) -> Workload | None:
        """The workload with that identity."""
        return self._by_id.get(spiffe_id)

    def of(self, key: str) -> Scope | None:
        """The scope of a workload; None when the model has no such workload."""
        workload = self.model.workloads.get(key)
        if workload is None:
            return None
        if key not in self._made:
            self._made[key] = self._make(workload)
        return self._made[key]

    def next_expiry(self) -> datetime | None:
        """When the next rule ends."""
        return next_expiry(self.model, self._now)

    def _make(self, workload: Workload) -> Scope:
        outward = self._outward(workload)
        rules = {rule.id: rule for rule in (*self._into[workload.key], *outward)}
        traffic = self._traffic(workload, outward)
        keys = {workload.key, *(d.key for rule in outward for d in rule.destinations)}
        keys |= {port.key for each in traffic.values() for port in each.reached()}
        workloads = {key: self.model.workloads[key] for key in sorted(keys & self.model.workloads.keys())}
        externals = self._externals(keys)
        ordered = tuple(rules[rule_id] for rule_id in sorted(rules))
        revoked = self._revoked(workload, workloads.values())
        asked = {rule.token.issuer for rule in self._into[workload.key] if rule.token is not None}
        issuers = {key: self.model.issuers[key] for key in sorted(asked)}
        part = replace(
            self.model,
            workloads=workloads,
            externals=externals,
            rules=ordered,
            revoked=revoked,
            traffic=traffic,
            issuers=issuers,
        )
        expired = frozenset(r.id for r in ordered if r.expires is not None and r.expires <= self._now)
        expired |= {name for name, caller in revoked.items() if not caller.in_force(self._now)}
        parts = (self.model.mesh, workloads, externals, ordered, revoked, self.model.tainted, traffic, issuers)
        upstreams = upstreams_of(part, workload)
        return Scope(workload, part, upstreams, routed(part, upstreams), parts, expired)

    def _externals(self, keys: Iterable[str]) -> dict[str, External]:
        """Those of *keys*, and for one with a star those that own names below it: it does not mean them."""
        known = self.model.externals
        named = known.keys() & set(keys)
        below = {other.key for key in named for other in within(known.values(), known[key])}
        return {key: known[key] for key in sorted(named | below)}

    def _traffic(self, workload: Workload, outward: Iterable[Rule]) -> dict[Destination, Traffic]:
        """That of its own ports, of those that it calls, and of those that their routes lead to."""
        called = {port for rule in outward for port in rule.destinations}
        called |= {Destination(workload.key, port.name) for port in workload.serves}
        known = self.model.traffic
        called |= {port for each in called & known.keys() for port in known[each].reached()}
        return {port: known[port] for port in sorted(called & known.keys(), key=lambda p: (p.key, p.port))}

    def _revoked(self, workload: Workload, reached: Iterable[Workload]) -> dict[str, RevokedCaller]:
        """What is revoked of those whom a rule into *workload* means, and of those that it may reach."""
        revoked = self.model.revoked
        calling = meant(revoked, self._into[workload.key], self.model.mesh.trust_domain)
        called = {str(peer.spiffe_id) for peer in reached if peer != workload}
        return {**calling, **{name: revoked[name] for name in sorted(called & revoked.keys())}}

    def _outward(self, workload: Workload) -> Iterable[Rule]:
        own, space = workload.spiffe_id, workload.namespace
        reaches: tuple[_Reach, ...] = ((own, None, None), (None, space, None), (None, None, None))
        return [rule for reach in reaches for rule in self._from[reach]]
