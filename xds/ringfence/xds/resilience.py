"""How a proxy treats the endpoints of a cluster: connect timeout, limits, ejection, health checks and balancing.

Field semantics are those of Envoy 1.40's cluster.proto, circuit_breaker.proto, outlier_detection.proto and
health_check.proto. Without a Traffic document a cluster has Envoy's defaults, and no health checks.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from ringfence.policy.model import Protocol
from ringfence.policy.traffic import Balance, HealthCheck, Limits, OutlierDetection, Retries, Traffic
from ringfence.xds import codec

_CONNECT_TIMEOUT = timedelta(seconds=5)
# Envoy's default of 3 at once would fail what a proxy that is gone never got; it costs the others nothing to take it.
_UNSENT_RETRIES = 1024
_CHECK_EVERY, _CHECK_TIMEOUT = timedelta(seconds=5), timedelta(seconds=1)
_CHECK_HOST = "health-check"  # Envoy's default is the cluster's name, whose slashes no authority may have (RFC 3986)
_EJECT_EVERY, _EJECT_FOR = timedelta(seconds=5), timedelta(seconds=30)
_POLICIES = {
    Balance.ROUND_ROBIN: "ROUND_ROBIN",
    Balance.LEAST_REQUEST: "LEAST_REQUEST",
    Balance.RANDOM: "RANDOM",
}


def cluster_fields(traffic: Traffic | None, protocol: Protocol) -> dict[str, Any]:
    """The fields of `envoy.config.cluster.v3.Cluster` that *traffic* means for a port that speaks *protocol*."""
    if traffic is None:
        return dict(_unsaid())
    fields: dict[str, Any] = {
        "connect_timeout": traffic.connect_timeout or _CONNECT_TIMEOUT,
        "circuit_breakers": _breakers(traffic.limits, traffic.retries),
    }
    if traffic.outlier_detection is not None:
        fields["outlier_detection"] = _outliers(traffic.outlier_detection, protocol)
    if traffic.balance is not None:
        fields["lb_policy"] = _POLICIES[traffic.balance]
    if traffic.zones is not None:
        fields["common_lb_config"] = {"healthy_panic_threshold": {"value": float(traffic.zones.panic_percent)}}
    if traffic.health_check is not None:
        fields["health_checks"] = [_health(traffic.health_check, protocol)]
        # Envoy would keep an endpoint that is gone from its cluster for as long as it answers its checks.
        fields["ignore_health_on_host_removal"] = True
    return fields


@cache
def _unsaid() -> dict[str, Any]:
    breakers = codec.build("envoy.config.cluster.v3.CircuitBreakers", **_breakers(None, None))
    return {"connect_timeout": _CONNECT_TIMEOUT, "circuit_breakers": breakers}


def _breakers(limits: Limits | None, retries: Retries | None) -> dict[str, Any]:
    """Both priorities would need their own thresholds; only the default one is ever used."""
    threshold: dict[str, Any] = {"priority": "DEFAULT", "track_remaining": True}
    counts = (
        {
            "max_connections": limits.max_connections,
            "max_pending_requests": limits.max_pending_requests,
            "max_requests": limits.max_requests,
        }
        if limits is not None
        else {}
    )
    threshold |= {name: {"value": count} for name, count in counts.items() if count is not None}
    if retries is None:
        threshold["max_retries"] = {"value": _UNSENT_RETRIES}
    else:
        threshold["retry_budget"] = {
            "budget_percent": {"value": float(retries.budget_percent)},
            "min_retry_concurrency": {"value": retries.budget_at_least},
        }
    return {"thresholds": [threshold]}


def _outliers(outliers: OutlierDetection, protocol: Protocol) -> dict[str, Any]:
    """Failures in a row, of either kind that Envoy counts; its statistical kinds are switched off.

    For plain TCP a connection that could not be made counts as a local origin failure.
    """
    count = {"value": outliers.consecutive_errors}
    every = {"value": 100}  # percent of ejections that are enforced
    return {
        "consecutive_5xx": count,
        "enforcing_consecutive_5xx": every if protocol.is_http else {"value": 0},
        "consecutive_gateway_failure": count,
        "enforcing_consecutive_gateway_failure": {"value": 0},
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": count,
        "enforcing_consecutive_local_origin_failure": every,
        "enforcing_success_rate": {"value": 0},
        "enforcing_local_origin_success_rate": {"value": 0},
        "interval": outliers.interval or _EJECT_EVERY,
        "base_ejection_time": outliers.base_ejection_time or _EJECT_FOR,
        "max_ejection_percent": {"value": outliers.max_ejection_percent},
    }


def _health(check: HealthCheck, protocol: Protocol) -> dict[str, Any]:
    """The check goes the way of every request: mutual TLS, then the rules of the port, which must allow it."""
    fields: dict[str, Any] = {
        "interval": check.interval or _CHECK_EVERY,
        "no_traffic_interval": check.interval or _CHECK_EVERY,  # Envoy's own default is a minute
        "timeout": check.timeout or _CHECK_TIMEOUT,
        "unhealthy_threshold": {"value": check.unhealthy_threshold},
        "healthy_threshold": {"value": check.healthy_threshold},
    }
    if check.http is not None:
        spoken = "HTTP2" if protocol.is_http2 else "HTTP1"
        fields["http_health_check"] = {"path": check.http, "host": _CHECK_HOST, "codec_client_type": spoken}
    elif check.grpc is not None:
        fields["grpc_health_check"] = {"service_name": check.grpc, "authority": _CHECK_HOST}
    else:
        fields["tcp_health_check"] = {}
    return fields
