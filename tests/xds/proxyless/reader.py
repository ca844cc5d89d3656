"""A reader of gRPC's RBAC for tests: what gRFC A41 says that its rules mean, nothing more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ringfence.xds import codec


@dataclass(frozen=True)
class Call:
    """One call as gRPC's filters see it: all URI SANs of the caller, the path, and the lines of its headers."""

    uris: Sequence[str]
    path: str
    headers: Sequence[tuple[str, str]] = ()


def allowed(overrides: Any, call: Call) -> bool:
    """The verdict of a route's two filters in turn; *overrides* is its `typed_per_filter_config`."""
    return all(
        _passes(codec.unpack(overrides[name].SerializeToString()).rbac, call)
        for name in sorted(overrides, reverse=True)
    )


def _passes(rbac: Any, call: Call) -> bool:
    assert rbac.HasField("rules"), "no rules: gRPC would let everybody in"
    assert not rbac.HasField("matcher"), "gRPC ignores it"
    assert not rbac.HasField("shadow_rules"), "gRPC ignores them"
    rules = rbac.rules
    assert rules.action in {0, 1}, "gRPC takes LOG for nothing"
    assert rules.policies, "as above"
    matched = any(
        any(_permits(one, call) for one in policy.permissions) and any(_means(one, call) for one in policy.principals)
        for policy in rules.policies.values()
    )
    return matched if rules.action == 0 else not matched


def _permits(permission: Any, call: Call) -> bool:
    kind = permission.WhichOneof("rule")
    value = getattr(permission, kind)
    if kind == "any":
        return bool(value)
    if kind == "not_rule":
        return not _permits(value, call)
    if kind in {"and_rules", "or_rules"}:
        return (all if kind == "and_rules" else any)(_permits(one, call) for one in value.rules)
    if kind == "header":
        lines = [text for name, text in call.headers if name == value.name]
        if not lines or value.HasField("present_match"):
            return bool(lines)
        # RE2 matches UTF-8 only, and a lone byte past ASCII is none.
        return ",".join(lines).isascii() and _matches(value.string_match, ",".join(lines))
    assert kind == "url_path", f"{kind} is not for gRPC"
    return _matches(value.path, call.path)


def _means(principal: Any, call: Call) -> bool:
    kind = principal.WhichOneof("identifier")
    value = getattr(principal, kind)
    if kind == "any":
        return bool(value)
    if kind == "not_id":
        return not _means(value, call)
    if kind in {"and_ids", "or_ids"}:
        return (all if kind == "and_ids" else any)(_means(one, call) for one in value.ids)
    assert kind == "authenticated", f"{kind} is not for gRPC"
    # Without URI SANs the subject is looked at, which is empty or `CN=...` in ours.
    return any(_matches(value.principal_name, uri) for uri in call.uris or ("CN=trainer.team-a",))


def _matches(matcher: Any, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, text) is not None
    if kind == "prefix":
        return text.startswith(matcher.prefix)
    assert kind == "exact"
    return bool(text == matcher.exact)
