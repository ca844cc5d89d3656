"""Judges one request against the model, as the proxies will: guard, deny, allow, and default deny at the end.

When several rules match, the one with the narrowest source decides (identity, namespace, mesh), then the smallest
id: the order in which the compiled matcher trees look, so that both name the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ringfence.policy.callers import within
from ringfence.policy.canonical import canonical_path, is_ambiguous
from ringfence.policy.headers import Headers
from ringfence.policy.identities import Identity
from ringfence.policy.model import (
    DEFAULT_DENY,
    NOT_MTLS,
    REVOKED,
    Destination,
    Effect,
    Mode,
    Model,
    Protocol,
    Rule,
    named,
)
from ringfence.policy.plaintext import taken_at
from ringfence.policy.revoked import is_revoked
from ringfence.policy.scope import narrowest, narrowest_from
from ringfence.policy.tokens import NONE, Tokens
from ringfence.policy.wildcard import is_asked, owner


@dataclass(frozen=True, slots=True)
class Request:
    """One call as the destination sees it; `source` None is a caller without a certificate of the mesh.

    `method`, `path` and `headers` matter for HTTP and gRPC only; left empty they satisfy no rule that asks for one.
    """

    source: Identity | None
    destination: str  # key of a workload or external host
    port: str
    now: datetime
    method: str = ""
    path: str = ""
    serial: str = ""  # of the caller's certificate, 32 lower-case hex digits; empty where it is not known
    headers: Headers = ()
    address: str = ""  # IP that the connection comes from; empty where it is not known
    plaintext: bool = False  # without a source: it did not even try mutual TLS
    tokens: Tokens = field(default_factory=lambda: NONE)  # of end users, those that the proxy has verified
    called: Identity | None = None  # which rank of a job is called; None where that is not known
    server_name: str = ""  # which host below a star is asked for, in lower case; empty where it is not known


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided, by whom, and which shadow rule would have decided otherwise if it were enforced."""

    allowed: bool
    decided_by: str  # a rule's id or a named default
    policy_id: str  # the same as enforcement points spell it, with the hash
    rule: Rule | None
    shadow: Rule | None


def evaluate(model: Model, request: Request) -> Verdict:
    """The verdict on *request*. Whatever is unknown (caller, destination, port, path) is denied."""
    # 1. A caller without a certificate is not judged by rules at all, unless the port takes plaintext for now.
    if request.source is None and not _takes_plaintext(model, request):
        return _default(NOT_MTLS)
    # 2. A port that nobody declared can have no rule, nor a path that has no canonical form, or more than one reading;
    #    nor has a star one for a name below it that another document declares.
    protocol = _protocol(model, request)
    path = canonical_path(request.path) if request.path else ""
    unclear = protocol is not None and protocol.is_http and (path is None or is_ambiguous(path))
    if protocol is None or unclear or not _owns(model, request):
        return _default(DEFAULT_DENY)
    # 3. Who is revoked is refused, and not called, wherever a rule speaks of it; else nothing allows it anyway.
    called = model.workloads.get(request.destination)
    gone = request.source is not None and is_revoked(model.revoked, request.source, request.serial)
    away = called is not None and is_revoked(model.revoked, request.called or called.identity)
    if (gone or away) and any(speaking(model, request)):
        return _default(REVOKED)
    # 4. Of the rules that match, a deny wins over every allow.
    matching = tuple(_matching(model, request, path or "", protocol))
    deny = _first(matching, Effect.DENY, Mode.ENFORCE)
    if deny is not None:
        return _by(deny, shadow=None)
    # 5. A shadow rule is reported only where enforcing it would turn the verdict.
    allow = _first(matching, Effect.ALLOW, Mode.ENFORCE)
    if allow is not None:
        return _by(allow, shadow=_first(matching, Effect.DENY, Mode.SHADOW))
    # 6. What no rule allows is denied.
    return _default(DEFAULT_DENY, shadow=_first(matching, Effect.ALLOW, Mode.SHADOW))


def _takes_plaintext(model: Model, request: Request) -> bool:
    """Whether the port takes the caller, who shows nothing, from where it calls."""
    called = model.workloads.get(request.destination)
    port = called.port(request.port) if called is not None and request.plaintext else None
    taken = taken_at(port, request.now) if port is not None else None
    return taken is not None and within(taken.cidrs, request.address, unknown=False)


def in_force(rule: Rule, now: datetime) -> bool:
    """Whether *rule* is judged at all at *now*: from its expiry on it is as if it were not there."""
    return rule.expires is None or now < rule.expires


def _matching(model: Model, request: Request, path: str, protocol: Protocol) -> Iterator[tuple[int, Rule]]:
    """Each rule in force that means this caller, port and request, with the breadth by which it means the caller."""
    for rule in speaking(model, request):
        breadth = _breadth(model, request, rule)
        if breadth is None or not _names_match(model, rule, request):
            continue
        if not protocol.is_http or (_http_matches(rule, request, path) and _token_matches(rule, request)):
            yield breadth, rule


def _owns(model: Model, request: Request) -> bool:
    if not request.server_name:
        return True
    owned = owner(model.externals.values(), request.server_name)
    return owned is not None and owned.key == request.destination


def _names_match(model: Model, rule: Rule, request: Request) -> bool:
    """Whether the host that is asked for is one that *rule* means; where it is not known a Deny means it."""
    external = model.externals.get(request.destination)
    if not rule.server_names or external is None:
        return True
    if not request.server_name:
        return rule.effect is Effect.DENY
    return is_asked(external, rule.server_names, request.server_name)


def _breadth(model: Model, request: Request, rule: Rule) -> int | None:
    if request.source is None:
        unknown = rule.effect is Effect.DENY
        return 0 if within(rule.plaintext or (), request.address, unknown=unknown) else None
    return narrowest_from(rule, request.source, model.mesh.trust_domain, request.address)


def speaking(model: Model, request: Request) -> Iterator[Rule]:
    """Each rule in force that means this caller and port, whatever it asks of requests and of where they come from."""
    destination = Destination(request.destination, request.port)
    for rule in model.rules:
        if destination not in rule.destinations or not in_force(rule, request.now):
            continue
        # A caller without an identity is meant by rules that say so, and by nothing that names anybody.
        if request.source is None:
            meant = rule.plaintext is not None
        else:
            meant = narrowest(rule, request.source, model.mesh.trust_domain) is not None
        if meant:
            yield rule


def _http_matches(rule: Rule, request: Request, path: str) -> bool:
    return not rule.http or any(
        (not match.methods or request.method in match.methods)
        and (not match.paths or any(pattern.matches(path) for pattern in match.paths))
        and all(header.holds(request.headers, only=rule.effect is Effect.ALLOW) for header in match.headers)
        for match in rule.http
    )


def _token_matches(rule: Rule, request: Request) -> bool:
    if rule.token is None:
        return True
    return rule.token.allows(request.tokens) if rule.effect is Effect.ALLOW else rule.token.denies(request.tokens)


def _first(matching: tuple[tuple[int, Rule], ...], effect: Effect, mode: Mode) -> Rule | None:
    wanted = [(breadth, rule.id, rule) for breadth, rule in matching if rule.effect is effect and rule.mode is mode]
    return min(wanted, key=lambda found: found[:2])[2] if wanted else None


def _protocol(model: Model, request: Request) -> Protocol | None:
    owner = model.workloads.get(request.destination) or model.externals.get(request.destination)
    port = owner.port(request.port) if owner is not None else None
    return port.protocol if port is not None else None


def _by(rule: Rule, *, shadow: Rule | None) -> Verdict:
    return Verdict(rule.effect is Effect.ALLOW, rule.id, rule.policy_id, rule, shadow)


def _default(name: str, *, shadow: Rule | None = None) -> Verdict:
    return Verdict(allowed=False, decided_by=name, policy_id=named(name), rule=None, shadow=shadow)
