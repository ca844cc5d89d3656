"""Where the ports of other workloads are served: one load assignment a cluster, empty while nobody serves."""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.xds import codec
from ringfence.xds.instance import Endpoint
from ringfence.xds.snapshot import Resource


def load_assignment(cluster: str, endpoints: Iterable[Endpoint]) -> tuple[str, Resource]:
    """The endpoints of a cluster, sorted, so that equal sets are equal bytes."""
    listed = [
        {"endpoint": {"address": {"socket_address": {"address": e.host, "port_value": e.port}}}}
        for e in sorted(set(endpoints), key=lambda e: (e.host, e.port))
    ]
    assignment = codec.build(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster,
        endpoints=[{"lb_endpoints": listed}] if listed else [],
    )
    return codec.resource(cluster, assignment)
