"""What a rule asks of requests as gRPC's RBAC can ask it, and what it cannot: then an Allow is narrower, a Deny wider.

Each condition of the language has its place in `_SAYS`. One that is not there yet, because it came into the language
later, is therefore never ignored in an Allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from ringfence.policy.headers import HeaderMatch
from ringfence.policy.model import Effect, HttpMatch, Rule
from ringfence.policy.paths import PathPattern
from ringfence.xds.proxyless.who import Fields, matching

ANYTHING: Fields = {"any": True}
# The only method that gRPC's servers take (gRPC over HTTP/2, "Requests"): a rule for others means no call of theirs.
_METHOD = "POST"
# A method's path that has one reading only: nothing in it that some server would make canonical, and no query.
PLAIN_PATH = r"(?:/[A-Za-z0-9_~!$&'()*+,:;=@-][A-Za-z0-9._~!$&'()*+,:;=@-]*)+"

# Headers that gRPC reads itself: what its rules see of them is not what was sent. Of `grpc-*` it refuses to be asked.
_GRPCS_OWN = frozenset({"content-type", "host", "lb-token", "te", "user-agent", "x-envoy-peer-metadata"})

# What a rule says beside `http`, and what each of these is to gRPC is known: who, where, when, whether.
_RULE_FIELDS = frozenset(
    {
        *("namespace", "name", "effect", "mode", "sources", "destinations", "http"),
        *("owner", "reason", "expires", "hash", "origin"),
    }
)


def permissions(rule: Rule) -> list[Fields]:
    """The requests that *rule* means, joined by or; none of them when gRPC can have no such request."""
    if rule.effect is Effect.ALLOW and _unsayable(rule, _RULE_FIELDS):
        return []
    if not rule.http:
        return [ANYTHING]
    return [found for match in rule.http if (found := _permission(match, rule.effect)) is not None]


def unsayable(rule: Rule) -> list[str]:
    """The conditions of *rule* that gRPC has no words for, by their names in the model."""
    found = {*_unsayable(rule, _RULE_FIELDS), *(name for match in rule.http for name in _unsayable_of(match))}
    return sorted(found)


def not_plain() -> Fields:
    """The permission that means every path which is not plain: gRPC makes no path canonical, so none may need it."""
    return {"not_rule": _path(PLAIN_PATH)}


def _permission(match: HttpMatch, effect: Effect) -> Fields | None:
    if effect is Effect.ALLOW and _unsayable_of(match):
        return None
    parts = []
    for name, says in _SAYS.items():
        value = getattr(match, name)
        part = says(value, effect) if value else ANYTHING
        if part is None:
            return None
        if part is not ANYTHING:
            parts.append(part)
    if not parts:
        return ANYTHING
    return parts[0] if len(parts) == 1 else {"and_rules": {"rules": parts}}


def _unsayable_of(match: HttpMatch) -> list[str]:
    beyond = [f"header {header.name}" for header in match.headers if not _has_words_for(header)]
    return [*_unsayable(match, _SAYS), *beyond]


def _unsayable(part: HttpMatch | Rule, sayable: Iterable[str]) -> list[str]:
    known = frozenset(sayable)
    return [field.name for field in fields(part) if field.name not in known and getattr(part, field.name)]


def _methods(methods: frozenset[str], _: Effect) -> Fields | None:
    return ANYTHING if _METHOD in methods else None


def _paths(patterns: Iterable[PathPattern], _: Effect) -> Fields:
    found = [_path(pattern.regex) for pattern in sorted(patterns)]
    return found[0] if len(found) == 1 else {"or_rules": {"rules": found}}


def _headers(headers: Iterable[HeaderMatch], effect: Effect) -> Fields:
    """All of them, on the lines of a name joined by commas, as a proxy sees them too."""
    found = [_header(header, effect) for header in headers if _has_words_for(header)]
    if not found:
        return ANYTHING
    return found[0] if len(found) == 1 else {"and_rules": {"rules": found}}


def _header(header: HeaderMatch, effect: Effect) -> Fields:
    if effect is Effect.ALLOW:
        return _lines(header, header.regex_of_only)
    # No expression matches what is no UTF-8, an application may: there a Deny holds, whatever else is in it.
    there = {"header": {"name": header.name, "present_match": True}}
    no_text = {"and_rules": {"rules": [there, {"not_rule": _lines(header, "(?s).*")}]}}
    return {"or_rules": {"rules": [_lines(header, header.regex_of_any), no_text]}}


def _lines(header: HeaderMatch, regex: str) -> Fields:
    return {"header": {"name": header.name, "string_match": matching(regex)}}


def _has_words_for(header: HeaderMatch) -> bool:
    own = header.name.startswith("grpc-") or header.name.endswith("-bin")
    return not own and header.name not in _GRPCS_OWN


def _path(regex: str) -> Fields:
    return {"url_path": {"path": matching(regex)}}


# By field of HttpMatch: its value as a permission, ANYTHING where it always holds, None where it never does.
_SAYS: Mapping[str, Callable[[Any, Effect], Fields | None]] = {
    "methods": _methods,
    "paths": _paths,
    "headers": _headers,
}
