"""The rules of one port as two RBAC filters of gRPC, deny and then allow, as route overrides (gRFC A41).

gRPC accepts much that it then ignores, and what it ignores allows: a matcher tree, shadow rules, the action LOG, an
override without rules. Nothing of that is ever made here; what gRPC cannot say becomes a wider denial instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ringfence.policy.model import DEFAULT_DENY, REVOKED, Effect, Rule, named
from ringfence.xds import codec
from ringfence.xds.proxyless.requests import ANYTHING, not_plain, permissions
from ringfence.xds.proxyless.who import Fields, among, only
from ringfence.xds.proxyless.who import named as called
from ringfence.xds.rbac import HTTP_RBAC, PortRules

DENY_FILTER, ALLOW_FILTER = "ringfence.deny", "ringfence.allow"
NOT_PLAIN = "not-plain-path"  # the name of the policy that denies paths with more than one reading
_PER_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_NOBODY: Fields = {"not_id": {"any": True}}
_NOTHING: Fields = {"not_rule": {"any": True}}


def filters() -> list[dict[str, Any]]:
    """The two filters as a listener has them: a route that overrides neither lets nobody in."""
    return [
        codec.extension(DENY_FILTER, HTTP_RBAC, rules=_rules("DENY", _everybody())),
        codec.extension(ALLOW_FILTER, HTTP_RBAC, rules=_rules("ALLOW", {})),
    ]


def overrides(rules: PortRules, now: datetime) -> dict[str, Any]:
    """What a route says in place of these two: `typed_per_filter_config`.

    By routes, not by the listener: a change is judged by on the next call of an open connection, and drains nothing.
    """
    # 1. Whoever is revoked, by one certificate too while it lives: gRPC cannot ask for a serial.
    gone = sorted(name for name, caller in rules.revoked.items() if caller.in_force(now))
    denied = {named(REVOKED): _policy([ANYTHING], map(called, gone))} if gone else {}
    # 2. What has more than one reading is no rule's to allow.
    denied[named(NOT_PLAIN)] = _policy([not_plain()], [{"any": True}])
    # 3. The rules themselves.
    denied |= _of(rules.deny, rules)
    return {
        DENY_FILTER: _override("DENY", denied),
        ALLOW_FILTER: _override("ALLOW", _of(rules.allow, rules)),
    }


def _of(some: Iterable[Rule], rules: PortRules) -> dict[str, Fields]:
    found = {}
    for rule in some:
        # gRPC is not asked where a call comes from: an Allow that asks lets nobody in, and a Deny holds from anywhere.
        if rule.effect is Effect.ALLOW:
            callers = only([source for source in rule.sources if not source.cidrs], rules.trust_domain)
        else:
            callers = [among(source, rules.trust_domain) for source in rule.sources]
        requests = permissions(rule)
        if callers and requests:
            found[rule.policy_id] = _policy(requests, callers)
    return found


def _override(action: str, policies: dict[str, Fields]) -> Any:
    return codec.packed(_PER_ROUTE, rbac={"rules": _rules(action, policies)})


def _rules(action: str, policies: dict[str, Fields]) -> Fields:
    # Rules without any policy are one field away from no rules at all, which allow everything.
    return {"action": action, "policies": policies or {named(DEFAULT_DENY): _policy([_NOTHING], [_NOBODY])}}


def _everybody() -> dict[str, Fields]:
    return {named(DEFAULT_DENY): _policy([ANYTHING], [{"any": True}])}


def _policy(requests: Iterable[Fields], callers: Iterable[Fields]) -> Fields:
    return {"permissions": list(requests), "principals": list(callers)}
