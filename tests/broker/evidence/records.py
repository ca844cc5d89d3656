"""Records and OTLP requests for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from ringfence.broker.evidence.record import HTTP, Record
from ringfence.xds import decision as envoy

CLIENT = "spiffe://example.test/ns/team-a/sa/client"
WEB = "spiffe://example.test/ns/shared/sa/web"
TRACE = "0af7651916cd43dd8448eb211c80319c"

_RECORD = Record(
    TRACE, allowed=True, rule="team-a/read", rule_hash="abc", source=CLIENT, destination=WEB, point=HTTP, time_ns=1
)


def record(**changes: Any) -> Record:
    """An allowed request of the client, with *changes*."""
    return replace(_RECORD, **changes)


def export(*logs: dict[str, str], trace: str = TRACE, time_ns: int = 7) -> ExportLogsServiceRequest:
    """Log records with these attributes, as one proxy sends them."""
    records = [
        LogRecord(time_unix_nano=time_ns, trace_id=bytes.fromhex(trace), attributes=attributes(log)) for log in logs
    ]
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def attributes(values: dict[str, str]) -> list[KeyValue]:
    """As OTLP writes them."""
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def denied_request(**changes: str) -> dict[str, str]:
    """What Envoy logs of a request that no rule allows."""
    return {
        envoy.POINT: envoy.POINT_HTTP,
        envoy.LISTENER: "inbound/http",
        envoy.PEER: CLIENT,
        envoy.PEER_ADDRESS: "127.0.0.1:5000",
        envoy.LOCAL: "-",
        envoy.METHOD: "POST",
        envoy.PATH: "/a",
        envoy.CODE: "403",
        envoy.DENY: "none@builtin",
        envoy.ALLOW: "default-deny@builtin",
        **changes,
    }
