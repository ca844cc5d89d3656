"""Answers `authz check` from the model: the question in an operator's words, the decision with its line of intent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.evidence.book import RuleBook
from ringfence.broker.evidence.join import joined
from ringfence.broker.evidence.record import MODEL, Record
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.evaluate import Request, evaluate
from ringfence.policy.model import External, ExternalPort, Model, Port, Workload

_SCHEME = "spiffe://"


def check(model: Model, book: RuleBook, asked: Any, *, now: datetime) -> pb.Decision:
    """The decision on *asked* (a CheckAuthzRequest); raises NOT_FOUND or INVALID for names that mean nothing."""
    source = _source(model, asked.source)
    destination = _destination(model, asked.destination)
    port = _port(destination.key, destination.ports if isinstance(destination, External) else destination.serves, asked)
    request = Request(
        source=source, destination=destination.key, port=port, now=now, method=asked.method, path=asked.path
    )
    verdict = evaluate(model, request)
    return joined(_record(request, verdict, destination, now), book)


def _record(request: Request, verdict: Any, destination: Workload | External, now: datetime) -> Record:
    rule, _, rule_hash = verdict.policy_id.rpartition("@")
    named = destination.host if isinstance(destination, External) else str(destination.spiffe_id)
    return Record(
        id="",
        allowed=verdict.allowed,
        rule=rule,
        rule_hash=rule_hash,
        source=str(request.source),
        destination=named,
        point=MODEL,
        time_ns=int(now.timestamp() * 1e9),
        method=request.method,
        path=request.path,
        shadow=verdict.shadow.policy_id if verdict.shadow is not None else "",
    )


def _source(model: Model, text: str) -> SpiffeId:
    if text.startswith(_SCHEME):
        return SpiffeId.parse(text)
    workload = model.workloads.get(text)
    if workload is None:
        raise _unknown(text, "source")
    return workload.spiffe_id


def _destination(model: Model, text: str) -> Workload | External:
    if text.startswith(_SCHEME):
        found: Workload | External | None = model.workload_of(SpiffeId.parse(text))
    else:
        found = model.workloads.get(text) or model.externals.get(text)
        found = found or next((e for e in model.externals.values() if e.host == text), None)
    if found is None:
        raise _unknown(text, "destination")
    return found


def _port(key: str, ports: Sequence[Port | ExternalPort], asked: Any) -> str:
    names = [port.name for port in ports]
    if asked.port in names:
        return str(asked.port)
    if asked.port or len(names) != 1:
        raise RingfenceError(
            Kind.INVALID,
            f"{key} has no port {asked.port!r}" if asked.port else f"{key} serves {len(names)} ports",
            hint=f"Name one of: {', '.join(names) or 'none'}",
        )
    return names[0]


def _unknown(text: str, role: str) -> RingfenceError:
    return RingfenceError(
        Kind.NOT_FOUND,
        f"the intent declares no {role} {text!r}",
        hint="Write a SPIFFE ID, NAMESPACE/NAME, or an external host",
    )
