"""The part of a model that one workload's proxies depend on: they are compiled from it alone, again when it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ringfence.broker.fleet.differences import Name, apart, below, callers_of, into, issuer, named_in
from ringfence.broker.fleet.rule_index import RuleIndex, reaches_to
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.externals import External
from ringfence.policy.identities import Identity, named_by
from ringfence.policy.model import Destination, Model, Rule, Workload
from ringfence.policy.revoked import among, meant
from ringfence.policy.scope import Upstream, routed, upstreams_of
from ringfence.policy.traffic import Traffic
from ringfence.policy.wildcard import within
from ringfence.xds.compile import next_expiry


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
    expired: frozenset[str]  # ids of its rules that no longer hold, who is not revoked any more, and ended plaintext


@dataclass(frozen=True, slots=True)
class _Made:
    """A scope, the names of all that it was made of, and until when it is the same by the clock; None for ever."""

    scope: Scope
    names: frozenset[Name]
    until: datetime | None

    def stays(self, changed: frozenset[Name], now: datetime) -> bool:
        return self.names.isdisjoint(changed) and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class _Known:
    """What scopes are made of: the rules and the workloads of a model, by what they are looked for by."""

    rules: RuleIndex
    by_id: Mapping[Identity, Workload]

    @classmethod
    def of(cls, model: Model) -> _Known:
        return cls(RuleIndex().after((), model.rules), _identities(model))

    def after(self, before: Model, model: Model, gone: Iterable[Rule], come: Iterable[Rule]) -> _Known:
        same = apart(before.workloads.values(), model.workloads.values()) == ([], [])
        return _Known(self.rules.after(gone, come), self.by_id if same else _identities(model))


def _identities(model: Model) -> Mapping[Identity, Workload]:
    return {workload.identity: workload for workload in model.workloads.values()}


class Scopes:
    """The scopes of one model at one time, each made once."""

    def __init__(
        self, model: Model, now: datetime, known: _Known | None = None, made: Mapping[str, _Made] | None = None
    ) -> None:
        self.model = model
        self._now = now
        self._known = known or _Known.of(model)
        self._made = dict(made or {})

    def after(self, model: Model, now: datetime) -> Scopes:
        """The scopes of another model, or at another time; those that nothing of which is another stay as they are.

        It costs least where *model* shares with this one what did not change (`ringfence.policy.kept`).
        """
        gone, come = apart(self.model.rules, model.rules)
        known = self._known.after(self.model, model, gone, come)
        changed = named_in(self.model, model, (*gone, *come), known.by_id)
        # A clock that was set back may bring an ended rule to life again.
        if changed is None or now < self._now:
            return Scopes(model, now, known)
        return Scopes(model, now, known, {key: one for key, one in self._made.items() if one.stays(changed, now)})

    def workload(self, spiffe_id: SpiffeId) -> Workload | None:
        """The workload with that identity."""
        return named_by(self._known.by_id, spiffe_id)

    def of(self, key: str) -> Scope | None:
        """The scope of a workload; None when the model has no such workload."""
        workload = self.model.workloads.get(key)
        if workload is None:
            return None
        if key not in self._made:
            self._made[key] = self._make(workload)
        return self._made[key].scope

    def next_expiry(self) -> datetime | None:
        """When the next rule, plaintext or revoked certificate ends."""
        return next_expiry(self.model, self._now)

    def _make(self, workload: Workload) -> _Made:
        inward, outward = self._known.rules.into.get(workload.key, ()), self._known.rules.outward(workload)
        rules = {rule.id: rule for rule in (*inward, *outward)}
        traffic = self._traffic(workload, outward)
        keys = {workload.key, *(d.key for rule in outward for d in rule.destinations)}
        keys |= {port.key for each in traffic.values() for port in each.reached()}
        workloads = {key: self.model.workloads[key] for key in sorted(keys & self.model.workloads.keys())}
        externals = self._externals(keys)
        ordered = tuple(rules[rule_id] for rule_id in sorted(rules))
        revoked = self._revoked(workload, workloads.values())
        asked = {rule.token.issuer for rule in inward if rule.token is not None}
        issuers = {key: self.model.issuers[key] for key in sorted(asked)}
        part = replace(
            self.model,
            workloads=workloads,
            externals=externals,
            rules=ordered,
            revoked=revoked,
            traffic=traffic,
            issuers=issuers,
            fabrics={},
            fabric_grants={},
            revision="",  # it is the same in many
        )
        expired = frozenset(r.id for r in ordered if r.expires is not None and r.expires <= self._now)
        expired |= {name for name, caller in revoked.items() if not caller.in_force(self._now)}
        plain = ((port.name, port.plaintext) for port in workload.serves if port.plaintext is not None)
        expired |= {f"plaintext at {name}" for name, taken in plain if not taken.in_force(self._now)}
        parts = (self.model.mesh, workloads, externals, ordered, revoked, self.model.tainted, traffic, issuers)
        upstreams = upstreams_of(part, workload)
        scope = Scope(workload, part, upstreams, routed(part, upstreams), parts, expired)
        names = {*keys, into(workload.key), *reaches_to(workload), *map(issuer, asked)}
        names |= callers_of(inward, self.model.mesh.trust_domain)
        names |= {below(one.host.removeprefix("*")) for one in externals.values() if one.dynamic is not None}
        return _Made(scope, frozenset(names), next_expiry(part, self._now))

    def _externals(self, keys: Iterable[str]) -> dict[str, External]:
        """Those of *keys*, and for one with a star those that own names below it: it does not mean them."""
        known = self.model.externals
        named = known.keys() & set(keys)
        owners = {other.key for key in named for other in within(known.values(), known[key])}
        return {key: known[key] for key in sorted(named | owners)}

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
        calling = meant(revoked, self._known.rules.into.get(workload.key, ()), self.model.mesh.trust_domain)
        called = [peer.identity for peer in reached if peer != workload]
        return {**calling, **among(revoked, called)}
