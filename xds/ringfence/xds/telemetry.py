"""What every proxy reports: an OTLP log record a decision and a span a request, to the server's embedded receiver."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from ringfence.policy.model import Workload
from ringfence.xds import codec, decision, rbac
from ringfence.xds.sharing import shared
from ringfence.xds.sources import AGENT_CLUSTER, SERVER_CLUSTER

_HTTP = "%DYNAMIC_METADATA(envoy.filters.http.rbac:{})%"
_NETWORK = "%DYNAMIC_METADATA(envoy.filters.network.rbac:{})%"
_OTEL_LOG = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_TRACING = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing"
_LIST = "opentelemetry.proto.common.v1.KeyValueList"
_OTEL_TRACE = "envoy.config.trace.v3.OpenTelemetryConfig"
_ALWAYS_ON = "envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"
_ENFORCED = "{}enforced_effective_policy_id"
_SHADOW = "{}shadow_effective_policy_id"

_CALLER = {
    decision.FLAGS: "%RESPONSE_FLAGS%",
    decision.PEER: "%DOWNSTREAM_PEER_URI_SAN%",
    decision.PEER_ADDRESS: "%DOWNSTREAM_REMOTE_ADDRESS%",
    decision.PEER_SERIAL: "%DOWNSTREAM_PEER_SERIAL%",
    decision.LOCAL: "%DOWNSTREAM_LOCAL_URI_SAN%",
    decision.STREAM_ID: "%STREAM_ID%",
    decision.LOG_TYPE: "%ACCESS_LOG_TYPE%",
    decision.DURATION: "%DURATION%",
}
_UPSTREAM = {
    decision.UPSTREAM_CLUSTER: "%UPSTREAM_CLUSTER%",
    decision.UPSTREAM_FAILURE: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    decision.UPSTREAM_PEER: "%UPSTREAM_PEER_URI_SAN%",
}
_REQUEST = {
    decision.METHOD: "%REQ(:METHOD)%",
    decision.PATH: "%REQ(:PATH)%",
    decision.AUTHORITY: "%REQ(:AUTHORITY)%",
    decision.CODE: "%RESPONSE_CODE%",
    decision.DETAILS: "%RESPONSE_CODE_DETAILS%",
    decision.TRACE_ID: "%TRACE_ID%",
    decision.SPAN_ID: "%SPAN_ID%",
    decision.GUARD: _HTTP.format(_ENFORCED.format(rbac.GUARD)),
    decision.DENY: _HTTP.format(_ENFORCED.format(rbac.DENY)),
    decision.ALLOW: _HTTP.format(_ENFORCED.format(rbac.ALLOW)),
    decision.SHADOW_DENY: _HTTP.format(_SHADOW.format(rbac.DENY)),
    decision.SHADOW_ALLOW: _HTTP.format(_SHADOW.format(rbac.ALLOW)),
}
# Network RBAC writes no enforced metadata: the shadow twin of the enforced tree speaks for it.
_CONNECTION = {
    decision.DETAILS: "%CONNECTION_TERMINATION_DETAILS%",
    decision.SERVER_NAME: "%REQUESTED_SERVER_NAME%",
    decision.CONNECTION: _NETWORK.format(_SHADOW.format(rbac.CONNECTION)),
    decision.CONNECTION_RESULT: _NETWORK.format(f"{rbac.CONNECTION}shadow_engine_result"),
    decision.SHADOW_DENY: _NETWORK.format(_SHADOW.format(rbac.SHADOW + rbac.DENY)),
    decision.SHADOW_ALLOW: _NETWORK.format(_SHADOW.format(rbac.SHADOW + rbac.ALLOW)),
}
_DIALLED = {decision.AUTHORITY: "%REQUESTED_SERVER_NAME%"}
_QUESTION = {  # of the DNS filter's own (DnsFilterConfig.access_log)
    decision.AUTHORITY: "%QUERY_NAME%",
    decision.DNS_TYPE: "%QUERY_TYPE%",
    decision.DNS_CODE: "%RESPONSE_CODE%",
}
_PLAIN = {decision.PLAINTEXT: "true"}
_HANDSHAKE = {decision.TLS_FAILURE: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"}
_FAILED = "has(connection.transport_failure_reason)"
_FAILED_OR_NONE = f"{_FAILED} || !connection.mtls"
_TOO_MANY = {decision.CLOSED: "%DOWNSTREAM_LOCAL_CLOSE_REASON%"}
_FLUSH = timedelta(milliseconds=50)
_ANY_FLAG: dict[str, Any] = {"response_flag_filter": {}}


class Reporter:
    """The loggers and the tracer of one workload's proxy."""

    def __init__(self, workload: Workload, node_id: str) -> None:
        self._workload = workload
        resource = {
            "service.name": workload.key,
            decision.WORKLOAD: workload.key,
            decision.IDENTITY: str(workload.spiffe_id),
            decision.NODE: node_id,
        }
        self._resource = codec.build(_LIST, **_strings(resource))

    def requests(self, point: str, listener: str, *, plaintext: bool = False) -> dict[str, Any]:
        """The access log of a connection manager: one record a request.

        *plaintext*: of callers without mutual TLS.
        """
        return self._log(point, listener, _CALLER | _UPSTREAM | _REQUEST | (_PLAIN if plaintext else {}))

    def failures(self, listener: str) -> dict[str, Any]:
        """The access log of an outbound connection manager: only what failed on our side."""
        log = self._log(decision.POINT_OUTBOUND, listener, _CALLER | _UPSTREAM | _REQUEST)
        return log | {"filter": _ANY_FLAG}

    def connections(
        self, point: str, listener: str, *, ranged: bool = False, plaintext: bool = False
    ) -> dict[str, Any]:
        """The access log of a TCP proxy: when a connection is up, and at the end of one denied or failed.

        *ranged*: with the port number of a range that was dialled. *plaintext*: of callers without mutual TLS.
        """
        denied = {
            "filter": "envoy.filters.network.rbac",
            "path": [{"key": f"{rbac.CONNECTION}shadow_engine_result"}],
            "value": {"string_match": {"exact": "denied"}},
        }
        wanted = [
            {"log_type_filter": {"types": ["TcpUpstreamConnected"]}},
            {"metadata_filter": {"matcher": denied, "match_if_key_not_found": {"value": False}}},
            _ANY_FLAG,
        ]
        more = (_DIALLED if ranged else {}) | (_PLAIN if plaintext else {})
        log = self._log(point, listener, _CALLER | _UPSTREAM | _CONNECTION | more)
        return log | {"filter": {"or_filter": {"filters": wanted}}}

    def opened(self, listener: str) -> dict[str, Any]:
        """The access log that tells the agent whose each connection is, so that it can have a single one cut."""
        told = {key: _CALLER[key] for key in (decision.PEER, decision.PEER_ADDRESS)}
        told[decision.LOCAL_ADDRESS] = "%DOWNSTREAM_LOCAL_ADDRESS%"
        log = self._log(decision.POINT_OPENED, listener, told, AGENT_CLUSTER)
        return log | {"filter": {"log_type_filter": {"types": ["TcpUpstreamConnected"]}}}

    def refused(self, listener: str, policy_id: str, host: str = "%DOWNSTREAM_LOCAL_ADDRESS%") -> dict[str, Any]:
        """The access log of captured connections that nothing takes: denied, with where they were to go."""
        told = {decision.CONNECTION: policy_id, decision.CONNECTION_RESULT: "denied"}
        told[decision.AUTHORITY] = host
        return self._log(decision.POINT_EGRESS, listener, _CALLER | told)

    def questions(self, listener: str, policy_id: str) -> dict[str, Any]:
        """The access log of a DNS filter: every question, of which those for a name that is not known are denials."""
        told = {decision.CONNECTION: policy_id, decision.CONNECTION_RESULT: "denied", **_QUESTION}
        return self._log(decision.POINT_EGRESS, listener, told)

    def handshakes(self, listener: str, *, limited: bool = False) -> dict[str, Any]:
        """The access log of a listener: handshakes that failed, for which there is no request and no filter.

        *limited*: and connections that ended without one, since those too many do; no expression asks for the reason.
        """
        log = self._log(decision.POINT_TLS, listener, _CALLER | _HANDSHAKE | (_TOO_MANY if limited else {}))
        return log | {"filter": {"extension_filter": _wanted(_FAILED_OR_NONE if limited else _FAILED)}}

    def tracing(self, listener: str) -> Any:
        """The tracer of a connection manager, always on: an unsampled `traceparent` must not hide a decision."""
        tracer = codec.copied(_tracer(self._workload.key))
        next(tag for tag in tracer.custom_tags if tag.tag == decision.LISTENER).value = listener
        return tracer

    def _log(
        self, point: str, listener: str, attributes: dict[str, str], receiver: str = SERVER_CLUSTER
    ) -> dict[str, Any]:
        log = codec.copied(_logger(point, receiver, tuple(attributes.items())))
        next(each for each in log.attributes.values if each.key == decision.LISTENER).value.string_value = listener
        log.resource_attributes.CopyFrom(self._resource)
        return {"name": "envoy.access_loggers.open_telemetry", "typed_config": codec.pack(log)}


@shared(64)
def _logger(point: str, receiver: str, attributes: tuple[tuple[str, str], ...]) -> Any:
    """The logger of no listener and no workload as yet.

    `common_config` is deprecated, but Envoy 1.40 heeds no flush settings but those within it. Measured: those beside
    `grpc_service` leave records for a second whatever they say, and the two together keep Envoy from starting (design
    section 7.18).
    """
    return codec.build(
        _OTEL_LOG,
        common_config={
            "log_name": "ringfence",
            "grpc_service": _receiver(receiver),
            "transport_api_version": "V3",
            "buffer_flush_interval": _FLUSH,
        },
        disable_builtin_labels=True,
        attributes=_strings({decision.POINT: point, decision.LISTENER: "", **dict(attributes)}),
    )


@shared(256)
def _tracer(workload: str) -> Any:
    """The tracer of no listener as yet."""
    provider = codec.extension(
        "envoy.tracers.opentelemetry",
        _OTEL_TRACE,
        grpc_service=_receiver(),
        service_name=workload,
        sampler=codec.extension("envoy.tracers.opentelemetry.samplers.always_on", _ALWAYS_ON),
    )
    tags = {
        decision.LISTENER: "",
        **{key: _REQUEST[key] for key in (decision.GUARD, decision.DENY, decision.ALLOW, decision.DETAILS)},
        decision.PEER: _CALLER[decision.PEER],
    }
    return codec.build(
        _TRACING,
        provider=provider,
        random_sampling={"value": 100},
        custom_tags=[{"tag": tag, "value": value} for tag, value in sorted(tags.items())],
    )


@cache
def _wanted(expression: str) -> dict[str, Any]:
    return codec.extension(
        "envoy.access_loggers.extension_filters.cel",
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=expression,
    )


def _receiver(cluster: str = SERVER_CLUSTER) -> dict[str, Any]:
    return {"envoy_grpc": {"cluster_name": cluster}, "timeout": timedelta(seconds=5)}


def _strings(values: dict[str, str]) -> dict[str, Any]:
    return {"values": [{"key": key, "value": {"string_value": value}} for key, value in sorted(values.items())]}
