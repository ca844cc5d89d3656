"""The rules of one port as Envoy's RBAC filters of connections: one tree, from guard to default deny."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ringfence.policy.callers import NOBODY
from ringfence.policy.model import DEFAULT_DENY, NO_DENY, Rule, named
from ringfence.xds import codec, matcher, predicates
from ringfence.xds.rbac import ALLOW, CONNECTION, DENY, SHADOW, PortRules
from ringfence.xds.snapshot import Resource
from ringfence.xds.sources import by_ads
from ringfence.xds.types import type_url

NETWORK_RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"

_NO_DENY = matcher.act(named(NO_DENY), allow=True)
_DEFAULT_DENY = matcher.act(named(DEFAULT_DENY), allow=False)

Asked = Callable[[predicates.Fields], predicates.Fields]  # what follows as the matcher of the connections meant


def _anybody(verdict: predicates.Fields) -> predicates.Fields:
    return {"on_no_match": verdict}


def filters(where: str, rules: PortRules) -> list[dict[str, Any]]:
    """The network filters of a TCP port, in a filter chain: a change of them drains the chain, which cuts what lives.

    Network RBAC names no rule by itself, so the enforced tree is given a second time as its own shadow; rules in
    shadow mode are judged by filters of their own, in front, since a denial closes the connection.
    """
    return [*_shadow_filters(where, rules), _connection_filter(where, rules)]


def discovered_filters(where: str, rules: PortRules) -> list[dict[str, Any]]:
    """The same where the enforced one comes by ECDS: a change of it is for new connections, and drains nothing."""
    discovery = {"config_source": by_ads(), "type_urls": [type_url(NETWORK_RBAC)]}
    return [*_shadow_filters(where, rules), {"name": name(where), "config_discovery": discovery}]


def policy(where: str, rules: PortRules) -> tuple[str, Resource]:
    """That filter as an extension config."""
    made = _connection_filter(where, rules)["typed_config"]
    called = name(where)
    config = codec.build("envoy.config.core.v3.TypedExtensionConfig", name=called, typed_config=made)
    return codec.resource(called, config)


def name(where: str) -> str:
    """What it is called."""
    return f"{where}/connection"


def _connection_tree(
    rules: PortRules, some: tuple[Rule, ...], end: predicates.Fields, *, deny: bool
) -> predicates.Fields:
    gone = rules.revoked if deny else NOBODY
    return matcher.by_peer(some, rules.trust_domain, matcher.on_connections, end, gone)


def _enforced_on_connections(rules: PortRules) -> Any:
    """The matcher that decides on a connection: guard, revoked, deny, allow."""
    allow = _connection_tree(rules, rules.allow, _DEFAULT_DENY, deny=False)
    denied = _connection_tree(rules, rules.deny, matcher.then(allow), deny=True)
    return matcher.as_matcher(matcher.guard(matcher.then(denied)))


def rules_of(rules: PortRules) -> bytes:
    """What differs with the enforced rules, and not with what is revoked."""
    return bytes(_enforced_on_connections(replace(rules, revoked=NOBODY)).SerializeToString(deterministic=True))


def _connection_filter(where: str, rules: PortRules) -> dict[str, Any]:
    enforced = _enforced_on_connections(rules)
    return _network(CONNECTION, where, matcher=enforced, shadow_matcher=enforced)


def _shadow_filters(where: str, rules: PortRules) -> list[dict[str, Any]]:
    judges = []
    for prefix, some, otherwise in (
        (SHADOW + DENY, rules.shadow_deny, _NO_DENY),
        (SHADOW + ALLOW, rules.shadow_allow, _DEFAULT_DENY),
    ):
        if some:
            shadow = matcher.as_matcher(_connection_tree(rules, some, otherwise, deny=False))
            judges.append(_network(prefix, where, shadow_matcher=shadow))
    return judges


def plaintext_filters(where: str, rules: PortRules) -> list[dict[str, Any]]:
    """The same for a chain of callers without an identity, by the rules that say they mean them."""
    plain, asked = rules.in_plaintext(), matcher.in_plaintext(matcher.on_connections)
    judges = []
    for prefix, some, otherwise in (
        (SHADOW + DENY, plain.shadow_deny, _NO_DENY),
        (SHADOW + ALLOW, plain.shadow_allow, _DEFAULT_DENY),
    ):
        if some:
            shadow = matcher.as_matcher(matcher.sequence(some, asked, otherwise))
            judges.append(_network(prefix, where, shadow_matcher=shadow))
    allow = matcher.sequence(plain.allow, asked, _DEFAULT_DENY)
    enforced = matcher.as_matcher(matcher.sequence(plain.deny, asked, matcher.then(allow)))
    return [*judges, _network(CONNECTION, where, matcher=enforced, shadow_matcher=enforced)]


def constant_filters(
    where: str,
    rules: PortRules,
    asked: Asked = _anybody,
    conditions: matcher.Conditions = matcher.on_connections,
) -> list[dict[str, Any]]:
    """The network filters of a loopback listener, where the only caller is the workload itself: *rules* mean it.

    The first rule of each kind whose *conditions* hold speaks; shadow rules come in front, as in `filters`.
    With *asked* they speak of TLS clients that ask for some names alone (SNI); any other connection is denied by
    default.
    """

    def follows(some: tuple[Rule, ...], otherwise: predicates.Fields) -> predicates.Fields:
        return matcher.then(matcher.sequence(some, conditions, otherwise))

    judges = []
    for prefix, some, end in (
        (SHADOW + DENY, rules.shadow_deny, _NO_DENY),
        (SHADOW + ALLOW, rules.shadow_allow, _DEFAULT_DENY),
    ):
        if some:
            shadow = matcher.as_matcher(asked(follows(some, end)))
            judges.append(_network(prefix, where, shadow_matcher=shadow))
    enforced = matcher.as_matcher(asked(follows(rules.deny, follows(rules.allow, _DEFAULT_DENY))))
    return [*judges, _network(CONNECTION, where, matcher=enforced, shadow_matcher=enforced)]


def _network(prefix: str, where: str, **matchers: Any) -> dict[str, Any]:
    return codec.extension(
        f"ringfence.{prefix}rbac",
        NETWORK_RBAC,
        stat_prefix=where,
        shadow_rules_stat_prefix=prefix,
        **matchers,
    )
