"""Health checks are requests that real proxies take."""

from __future__ import annotations

import pytest

from ringfence.policy.model import Destination, Origin, Protocol
from ringfence.policy.traffic import HealthCheck, Traffic
from ringfence.xds.resilience import cluster_fields


@pytest.mark.parametrize(
    ("path", "service", "field", "host"),
    [("/healthz", None, "http_health_check", "host"), (None, "a.v1.A", "grpc_health_check", "authority")],
)
def test_a_check_names_a_host_that_may_stand_in_a_request(
    path: str | None, service: str | None, field: str, host: str
) -> None:
    """Envoy's default is the name of the cluster, whose slashes make every HTTP/2 check a protocol error."""
    check = HealthCheck(path, service, None, None, 2, 1)
    nothing = dict.fromkeys(
        ("timeout", "idle_timeout", "connect_timeout", "retries", "outlier_detection", "limits", "balance", "zones")
    )
    traffic = Traffic(
        "shared", "t", Destination("shared/registry", "http"), **nothing, health_check=check, routes=(), rate_limits=(),
        origin=Origin("t.yaml", 1),
    )  # fmt: skip

    (made,) = cluster_fields(traffic, Protocol.GRPC)["health_checks"]
    assert made[field][host]
    assert "/" not in made[field][host]
