"""Asks the model what a proxy would decide: names as people write them in, a decision like any other out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from ringfence.broker.evidence.book import RuleFacts
from ringfence.broker.evidence.record import MODEL, Record
from ringfence.broker.evidence.route import where_to
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.externals import External
from ringfence.policy.headers import Headers
from ringfence.policy.identities import Identity, identity
from ringfence.policy.model import Model, Workload
from ringfence.policy.plaintext import PLAINTEXT
from ringfence.policy.tokens import NONE, Tokens
from ringfence.policy.wildcard import owner

HEADERS, TOKENS = "headers", "tokens"  # attributes: those of the question, a line each
ROUTE = "route"  # attribute: where a Traffic document sends the request
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """May *source* call *destination*? Names are SPIFFE IDs, NAMESPACE/NAME or, for a destination, a host outside.

    The source `plaintext` is whoever calls without mutual TLS.
    """

    source: str
    destination: str
    port: str = ""  # may be empty where there is only one
    method: str = ""
    path: str = ""
    headers: Headers = ()
    tokens: Tokens = field(default_factory=lambda: NONE)  # those that the proxy would find valid
    address: str = ""  # IP that it comes from; empty: it is not known


class ModelBook:
    """A RuleBook of one model, where no store keeps the history: for intent that is only in files."""

    def __init__(self, model: Model) -> None:
        self._rules = {rule.policy_id: rule for rule in model.rules}
        self.revision = model.revision

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:
        """The rule as it is written now."""
        rule = self._rules.get(f"{rule_id}@{rule_hash}")
        if rule is None:
            return None
        origin = rule.origin
        return RuleFacts(origin.path, origin.line, self.revision, "", "", rule.owner, rule.reason)


def judge(model: Model, question: Question, now: datetime) -> Record:
    """What the model decides at *now*; raises NOT_FOUND for a name it does not hold, INVALID for a port left open."""
    source = _source(model, question.source)
    destination = _destination(model, question.destination)
    port = _port(destination, question.port)
    request = Request(
        source,
        destination.key,
        port,
        now,
        question.method,
        question.path,
        headers=question.headers,
        tokens=question.tokens,
        address=_ip(question.address),
        plaintext=source is None,
        called=_called(destination, question.destination),
        server_name=_asked_name(destination, question.destination),
    )
    verdict = evaluate(model, request)
    rule, _, rule_hash = verdict.policy_id.partition("@")
    return Record(
        id=secrets.token_hex(16),
        allowed=verdict.allowed,
        rule=rule,
        rule_hash=rule_hash,
        source=str(source or PLAINTEXT),
        destination=request.server_name or _spelled(destination, request.called),
        point=MODEL,
        time_ns=int(now.timestamp() * _NANOSECONDS),
        method=question.method,
        path=question.path,
        shadow=verdict.shadow.policy_id if verdict.shadow is not None else "",
        attributes={"port": request.port, **_shown(question)}
        | ({ROUTE: told} if (told := where_to(model, request)) else {}),
    )


def header_line(text: str) -> tuple[str, str]:
    """`NAME: VALUE` as a header line of a request; raises INVALID."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise RingfenceError(Kind.INVALID, f"{text!r} is no header", hint="Write NAME: VALUE")
    return name.strip().lower(), value.strip(" \t")


def token_shown(text: str) -> tuple[str, Mapping[str, Any]]:
    """`NAMESPACE/NAME=CLAIMS`, a valid token as its issuer and what it says in JSON; raises INVALID."""
    issuer, _, claims = text.partition("=")
    try:
        said = json.loads(claims)
    except ValueError:
        said = None
    if "/" not in issuer or not isinstance(said, dict):
        hint = """Write NAMESPACE/NAME={"claim": "value"} with a TokenIssuer"""
        raise RingfenceError(Kind.INVALID, f"{text!r} is no token", hint=hint)
    return issuer, said


def _ip(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as error:
        raise RingfenceError(Kind.INVALID, str(error), hint="Write an IP address, such as 10.1.2.3") from None


def _shown(question: Question) -> dict[str, str]:
    shown = {
        HEADERS: "\n".join(f"{name}: {value}" for name, value in question.headers),
        "peer.address": question.address,
        TOKENS: "\n".join(f"{issuer}={json.dumps(claims)}" for issuer, claims in question.tokens.items()),
    }
    return {name: text for name, text in shown.items() if text}


def _source(model: Model, name: str) -> Identity | None:
    if name == PLAINTEXT:
        return None
    if name.startswith("spiffe://"):
        return identity(name)
    return _workload(model, name).identity


def _destination(model: Model, name: str) -> Workload | External:
    if name.startswith("spiffe://"):
        found = model.workload_of(identity(name))
        return found if found is not None else _workload(model, name)
    external = model.externals.get(name) or owner(model.externals.values(), name.lower())
    return external if external is not None else _workload(model, name)


def _called(destination: Workload | External, named: str) -> Identity | None:
    """Which identity of it is asked about: that of one rank, or all of them; None of a host outside."""
    if isinstance(destination, External):
        return None
    return identity(named) if named.startswith("spiffe://") else destination.identity


def _spelled(destination: Workload | External, called: Identity | None) -> str:
    return destination.host if isinstance(destination, External) else str(called)


def _asked_name(destination: Workload | External, named: str) -> str:
    """The host below a star that a question is about; empty where it is about all of them."""
    wild = isinstance(destination, External) and destination.dynamic is not None
    return named.lower() if wild and named != destination.key and "*" not in named else ""


def _workload(model: Model, name: str) -> Workload:
    try:
        return model.workloads[name]
    except KeyError:
        known = ", ".join(sorted(model.workloads)) or "none"
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"the intent holds no workload {name}",
            hint=f"Write NAMESPACE/NAME or a SPIFFE ID; it holds {known}",
        ) from None


def _port(owner: Workload | External, named: str) -> str:
    ports = [port.name for port in (owner.ports if isinstance(owner, External) else owner.serves)]
    if named in ports:
        return named
    if not named and len(ports) == 1:
        return ports[0]
    raise RingfenceError(
        Kind.INVALID,
        f"{owner.key} has no port {named}" if named else f"{owner.key} has {len(ports)} ports",
        hint=f"Name one with --port: {', '.join(ports)}" if ports else "It serves nothing",
    )
