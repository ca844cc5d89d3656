"""OTLP export requests as records and spans: who decided is the sender's certificate, never what the message claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ringfence.broker.evidence.record import INBOUND, Record
from ringfence.broker.telemetry.spans import EndedSpan
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.plaintext import PLAINTEXT
from ringfence.xds import decision as envoy

# What is kept beside the fields of a record, by its short name; anything else that a sender adds is not.
_KEPT = {
    envoy.LISTENER: "listener",
    envoy.DETAILS: "details",
    envoy.FLAGS: "flags",
    envoy.PEER_ADDRESS: "peer.address",
    envoy.PEER_SERIAL: "peer.serial",
    envoy.PLAINTEXT: PLAINTEXT,
    envoy.TLS_FAILURE: "tls.failure",
    envoy.UPSTREAM_CLUSTER: "upstream.cluster",
    envoy.UPSTREAM_FAILURE: "upstream.failure",
    envoy.UPSTREAM_PEER: "upstream.peer",
    envoy.AUTHORITY: "authority",
    envoy.SERVER_NAME: "server_name",
    envoy.DURATION: "duration_ms",
    envoy.LOG_TYPE: "log_type",
    envoy.STREAM_ID: "stream_id",
}
_LONGEST = 1024  # characters of any one value: a store of 10,000 stays small whatever is sent
_POINTS = INBOUND | {envoy.POINT_EGRESS}


def records_of(request: Any, reporter: SpiffeId) -> Iterator[Record]:
    """The decisions in an ExportLogsServiceRequest that *reporter*'s proxy sent; what decided nothing is left out."""
    for resource in request.resource_logs:
        node = _strings(resource.resource.attributes).get(envoy.NODE, "")
        for scope in resource.scope_logs:
            for log in scope.log_records:
                record = _record(log, _strings(log.attributes), str(reporter), node)
                if record is not None:
                    yield record


def spans_of(request: Any) -> Iterator[EndedSpan]:
    """The spans in an ExportTraceServiceRequest."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield EndedSpan(
                    name=span.name[:_LONGEST],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes={
                        key: value for key, value in _strings(span.attributes).items() if key.startswith("ringfence.")
                    },
                )


def _record(log: Any, logged: Mapping[str, str], reporter: str, node: str) -> Record | None:
    point = logged.get(envoy.POINT, "")
    decided = envoy.decide(logged) if point in _POINTS else None
    if decided is None:
        return None
    rule, _, rule_hash = decided.policy_id.partition("@")
    caller = PLAINTEXT if envoy.PLAINTEXT in logged else logged.get(envoy.PEER) or logged.get(envoy.PEER_ADDRESS, "")
    kept = {short: logged[name] for name, short in _KEPT.items() if name in logged}
    return Record(
        id=_id(log, logged, point),
        allowed=decided.allowed,
        rule=rule,
        rule_hash=rule_hash,
        # At an inbound listener the reporter is the one that was called, at the egress the one that calls.
        source=caller if point in INBOUND else reporter,
        destination=reporter if point in INBOUND else _outside(logged),
        point=point,
        time_ns=log.time_unix_nano or log.observed_time_unix_nano,
        method=logged.get(envoy.METHOD, ""),
        path=logged.get(envoy.PATH, ""),
        shadow=decided.shadow_policy_id,
        status=_number(logged.get(envoy.CODE, "")),
        span_id=log.span_id.hex() or logged.get(envoy.SPAN_ID, ""),
        attributes=kept | ({"node": node} if node else {}),
    )


def _id(log: Any, logged: Mapping[str, str], point: str) -> str:
    """Trace id of a request, STREAM_ID of a connection, and for a failed handshake its listener, peer and time."""
    trace = log.trace_id.hex() if any(log.trace_id) else logged.get(envoy.TRACE_ID, "")
    if trace:
        return trace
    if point != envoy.POINT_TLS and envoy.STREAM_ID in logged:
        return logged[envoy.STREAM_ID]
    return f"{logged.get(envoy.LISTENER, '')}/{logged.get(envoy.PEER_ADDRESS, '')}/{log.time_unix_nano}"


def _outside(logged: Mapping[str, str]) -> str:
    """The host that a workload called, or NAMESPACE/NAME of the External behind an `outbound/NAME.NAMESPACE/PORT`."""
    if host := logged.get(envoy.AUTHORITY, "") or logged.get(envoy.SERVER_NAME, ""):
        return host
    name, _, namespace = logged.get(envoy.LISTENER, "").removeprefix("outbound/").partition("/")[0].partition(".")
    return f"{namespace}/{name}" if namespace else name


def _strings(attributes: Iterable[Any]) -> dict[str, str]:
    """OTLP's KeyValues as strings; Envoy writes `-` for what is absent."""
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = str(getattr(attribute.value, kind)) if kind in {"string_value", "int_value", "bool_value"} else ""
        if value not in {"", "-"}:
            found[attribute.key] = value[:_LONGEST]
    return found


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
