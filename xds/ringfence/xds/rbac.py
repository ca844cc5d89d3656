"""The rules of one port as Envoy's RBAC filters of requests: guard, deny, allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller
from ringfence.policy.evaluate import in_force
from ringfence.policy.model import DEFAULT_DENY, NO_DENY, Destination, Effect, Mode, Model, Rule, named
from ringfence.policy.revoked import meant
from ringfence.xds import codec, matcher, predicates
from ringfence.xds.sharing import Same, shared
from ringfence.xds.snapshot import Resource

_Revoked = Mapping[str, RevokedCaller]
HTTP_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"

# Each filter writes its verdict under its own prefix: without one they overwrite each other's metadata.
GUARD, DENY, ALLOW, SHADOW, CONNECTION = "guard_", "deny_", "allow_", "shadow_", "connection_"

_POLICIES = 64  # kept, each with its rules
_NO_DENY = matcher.act(named(NO_DENY), allow=True)
_DEFAULT_DENY = matcher.act(named(DEFAULT_DENY), allow=False)


@dataclass(frozen=True, slots=True)
class PortRules:
    """The rules in force at one port of a workload, by effect; those in shadow mode apart."""

    trust_domain: TrustDomain
    deny: tuple[Rule, ...]
    allow: tuple[Rule, ...]
    shadow_deny: tuple[Rule, ...]
    shadow_allow: tuple[Rule, ...]
    revoked: _Revoked

    @classmethod
    def at(cls, model: Model, destination: Destination, now: datetime) -> PortRules:
        """The rules at *destination* that have not expired."""
        here = [rule for rule in model.rules if destination in rule.destinations and in_force(rule, now)]
        domain = model.mesh.trust_domain
        return cls.of(domain, here, meant(model.revoked, here, domain))

    @classmethod
    def of(cls, trust_domain: TrustDomain, rules: Iterable[Rule], revoked: _Revoked = NOBODY) -> PortRules:
        """These rules, sorted into their four kinds, and the callers among those they mean that are *revoked*."""
        listed = tuple(rules)

        def kind(effect: Effect, mode: Mode) -> tuple[Rule, ...]:
            return tuple(rule for rule in listed if rule.effect is effect and rule.mode is mode)

        return cls(
            trust_domain,
            kind(Effect.DENY, Mode.ENFORCE),
            kind(Effect.ALLOW, Mode.ENFORCE),
            kind(Effect.DENY, Mode.SHADOW),
            kind(Effect.ALLOW, Mode.SHADOW),
            revoked,
        )

    def in_plaintext(self) -> PortRules:
        """Those that mean callers without an identity. Nobody among them can be revoked."""
        return PortRules.of(self.trust_domain, (rule for rule in self.every if rule.plaintext is not None))

    @property
    def every(self) -> tuple[Rule, ...]:
        """All of them."""
        return (*self.deny, *self.allow, *self.shadow_deny, *self.shadow_allow)


@cache
def guard_filter() -> dict[str, Any]:
    """The HTTP filter that demands one URI SAN and one reading of the path; constant, so it stands in the listener."""
    return _guarded_by(matcher.guard_requests())


@cache
def path_filter() -> dict[str, Any]:
    """The same on the way out, where nobody shows a certificate: one reading of the path."""
    return _guarded_by(matcher.guard_paths())


def _guarded_by(tree: predicates.Fields) -> dict[str, Any]:
    return codec.extension("ringfence.guard", HTTP_RBAC, matcher=matcher.as_matcher(tree), rules_stat_prefix=GUARD)


def request_policies(where: str, rules: PortRules) -> list[tuple[str, Resource]]:
    """The deny and the allow filter of a listener as extension configs, in the order in which they judge.

    They come by ECDS, so that a change takes effect on the next request of an open connection (design section 7.1).
    All proxies of a workload have the same; and a change of one of the two leaves the other one as it is.
    """
    domain, gone = rules.trust_domain, tuple(rules.revoked.items())
    return [
        _deny(deny_name(where), domain, Same(*rules.deny), Same(*rules.shadow_deny), gone),
        _allow(allow_name(where), domain, Same(*rules.allow), Same(*rules.shadow_allow)),
    ]


@shared(_POLICIES)
def _deny(
    name: str, domain: TrustDomain, some: Same, shadow: Same, revoked: tuple[tuple[str, RevokedCaller], ...]
) -> tuple[str, Resource]:
    denied = matcher.by_peer(some.of, domain, matcher.on_requests, _NO_DENY, dict(revoked))
    recorded = matcher.by_peer(shadow.of, domain, matcher.on_requests, _NO_DENY) if shadow.of else None
    return policy_resource(name, judged(DENY, denied, recorded))


@shared(_POLICIES)
def _allow(name: str, domain: TrustDomain, some: Same, shadow: Same) -> tuple[str, Resource]:
    allowed = matcher.by_peer(some.of, domain, matcher.on_requests, _DEFAULT_DENY)
    recorded = matcher.by_peer(shadow.of, domain, matcher.on_requests, _DEFAULT_DENY) if shadow.of else None
    return policy_resource(name, judged(ALLOW, allowed, recorded))


def plaintext_policies(where: str, rules: PortRules) -> list[tuple[str, Resource]]:
    """The same for a chain of callers without an identity: of *rules* only those that say they mean them."""
    plain, asked = rules.in_plaintext(), matcher.in_plaintext(matcher.on_requests)

    def tree(some: tuple[Rule, ...], otherwise: predicates.Fields) -> predicates.Fields:
        return matcher.sequence(some, asked, otherwise)

    shadow_deny = tree(plain.shadow_deny, _NO_DENY) if plain.shadow_deny else None
    shadow_allow = tree(plain.shadow_allow, _DEFAULT_DENY) if plain.shadow_allow else None
    deny = judged(DENY, tree(plain.deny, _NO_DENY), shadow_deny)
    allow = judged(ALLOW, tree(plain.allow, _DEFAULT_DENY), shadow_allow)
    return [policy_resource(deny_name(where), deny), policy_resource(allow_name(where), allow)]


def judged(prefix: str, tree: predicates.Fields, shadow: predicates.Fields | None) -> Any:
    """An HTTP RBAC message that enforces *tree* and records what *shadow* would say, both under *prefix*."""
    fields: dict[str, Any] = {"matcher": matcher.as_matcher(tree), "rules_stat_prefix": prefix}
    if shadow is not None:
        fields |= {"shadow_matcher": matcher.as_matcher(shadow), "shadow_rules_stat_prefix": prefix}
    return codec.build(HTTP_RBAC, **fields)


def policy_resource(name: str, policy: Any) -> tuple[str, Resource]:
    """An RBAC message as the extension config of that name."""
    config = codec.build("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=codec.pack(policy))
    return codec.resource(name, config)


def deny_name(where: str) -> str:
    """The name of a listener's deny filter."""
    return f"{where}/deny"


def allow_name(where: str) -> str:
    """The name of a listener's allow filter."""
    return f"{where}/allow"
