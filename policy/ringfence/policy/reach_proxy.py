"""What the rules of services let a workload reach through the proxies: by the evaluator, for all requests at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ringfence.policy.evaluate import Request, evaluate, speaking
from ringfence.policy.externals import External, ExternalPort
from ringfence.policy.identities import Identity
from ringfence.policy.model import NOT_MTLS, REVOKED, Effect, HttpMatch, Mode, Model, Port, Rule, Workload
from ringfence.policy.plaintext import taken_at
from ringfence.policy.scope import matches
from ringfence.policy.way import Leg, Line, Reached, Way

_UNDECLARED = "no document declares such a port, so that no proxy listens for it"


def by_proxy(
    model: Model, caller: Workload, called: Workload | External, port: Port | ExternalPort, now: datetime
) -> Iterator[Leg]:
    """The leg to *port* with the caller's identity, and one without where the port takes such callers for now."""
    request = Request(caller.identity, called.key, port.name, now)
    yield _leg(model, request, _enforcer(caller, called, port), port)
    if isinstance(port, Port) and taken_at(port, now) is not None:
        bare = Request(None, called.key, port.name, now, plaintext=True)
        by = f"RBAC in the proxy of {called.key}; without mutual TLS, so that nobody proves who calls"
        yield _leg(model, bare, by, port)


def undeclared(target: str) -> Leg:
    """The leg to a port that nobody declares."""
    return Leg(Way.PROXY, target, Reached.DENY, "proxies, which hold what intent names and nothing else", _UNDECLARED)


def decided(model: Model, request: Request) -> tuple[Reached, str]:
    """Whether every, some or no request of the caller of *request* to its port is allowed, and by whose decision.

    *request* says nothing of method, path, headers, tokens and address. DENY and ALLOW hold for every request that has
    a canonical path; SOME may be none, where what an Allow asks for is what a Deny refuses.
    """
    # 1. What the evaluator decides on a request that has nothing to show.
    verdict = evaluate(model, request)
    rules = [rule for rule in speaking(model, request) if rule.mode is Mode.ENFORCE]
    allows = [rule for rule in rules if rule.effect is Effect.ALLOW]
    denies = [rule for rule in rules if rule.effect is Effect.DENY]
    # 2. Nothing that a request has helps a caller whom nobody lets in, or whom a Deny means whatever it asks for.
    shut = next((rule for rule in denies if not asks(model, rule, request.source)), None)
    if verdict.decided_by in {REVOKED, NOT_MTLS} or not allows:
        return Reached.DENY, verdict.decided_by
    if shut is not None:
        return Reached.DENY, shut.id
    # 3. What is allowed with nothing to show is allowed with anything, unless a Deny looks at that.
    if verdict.allowed and not denies:
        return Reached.ALLOW, verdict.decided_by
    return Reached.SOME, verdict.decided_by


def asks(model: Model, rule: Rule, source: Identity | None) -> bool:
    """Whether *rule*, which means *source*, asks for more of a call than to come from it."""
    if rule.http or rule.token is not None or rule.server_names:
        return True
    if source is None:
        return bool(rule.plaintext)
    return not any(matches(one, source, model.mesh.trust_domain) for one in rule.sources if not one.cidrs)


def _leg(model: Model, request: Request, by: str, port: Port | ExternalPort) -> Leg:
    verdict, decision = decided(model, request)
    target = f"{request.destination} {port.name}"
    target += " without an identity" if request.source is None else ""
    lines = tuple(
        Line(_named(rule), rule.origin, _says(model, rule, request.source)) for rule in speaking(model, request)
    )
    return Leg(Way.PROXY, target, verdict, by, _because(verdict, decision), lines)


def _because(verdict: Reached, decision: str) -> str:
    if verdict is Reached.SOME:
        return "what is allowed depends on the call"
    return f"{decision} decides"


def _enforcer(caller: Workload, called: Workload | External, port: Port | ExternalPort) -> str:
    if isinstance(called, Workload):
        each = "each request" if port.protocol.is_http else "each connection"
        return f"mutual TLS and RBAC in the proxy of {called.key}, {each}"
    if isinstance(port, ExternalPort) and port.passthrough:
        return f"RBAC in the proxy of {caller.key}, by the name that TLS asks for"
    return f"RBAC in the proxy of {caller.key}, which is its way out"


def _named(rule: Rule) -> str:
    return f"{'Allow' if rule.effect is Effect.ALLOW else 'Deny'} {rule.id}"


def _says(model: Model, rule: Rule, source: Identity | None) -> str:
    """What a rule asks for beside the caller, in the words of its document."""
    said = ["decides nothing, it is in shadow mode"] if rule.mode is Mode.SHADOW else []
    if rule.http:
        said.append(" or ".join(_requests(match) for match in rule.http))
    if rule.token is not None:
        said.append(f"with {rule.token}")
    if rule.server_names:
        said.append(f"for {' or '.join(rule.server_names)}")
    if asked := _addresses(model, rule, source):
        said.append(f"from {' or '.join(asked)}")
    if rule.expires is not None:
        said.append(f"until {rule.expires.isoformat()}")
    return ", ".join(said)


def _addresses(model: Model, rule: Rule, source: Identity | None) -> list[str]:
    if source is None:
        return list(rule.plaintext or ())
    meant = [one for one in rule.sources if matches(one, source, model.mesh.trust_domain)]
    return sorted({cidr for one in meant for cidr in one.cidrs}) if all(one.cidrs for one in meant) else []


def _requests(match: HttpMatch) -> str:
    methods = ",".join(sorted(match.methods)) or "any method"
    paths = " ".join(pattern.text for pattern in match.paths) or "any path"
    headers = "".join(f" with {header}" for header in match.headers)
    return f"{methods} {paths}{headers}"
