"""Where the ports of other workloads are served: one load assignment a cluster, empty while nobody serves."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ringfence.xds import codec
from ringfence.xds.instance import Endpoint
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.sharing import shared
from ringfence.xds.snapshot import Resource


@shared(1024)  # for all who call the same
def load_assignment(
    cluster: str, endpoints: tuple[Endpoint, ...], home: Locality = NOWHERE, *, weighted: bool = False
) -> tuple[str, Resource]:
    """The endpoints of a cluster by locality, sorted, so that equal sets are equal bytes.

    For a caller at *home* its own zone is priority 0, its region 1, what is elsewhere 2; without one all are equal.
    Envoy wants priorities without a gap, and fails over by the share that is healthy, times 1.4
    (config.endpoint.v3.ClusterLoadAssignment.Policy). With *weighted* each place weighs as much as it has endpoints:
    gRPC passes over one without a weight, and wants a locality, if an empty one (gRFC A27).
    """
    near: dict[tuple[int, Locality], list[Endpoint]] = {}
    for endpoint in set(endpoints):
        near.setdefault((home.distance(endpoint.locality), endpoint.locality), []).append(endpoint)
    priorities = {distance: at for at, distance in enumerate(sorted({distance for distance, _ in near}))}
    assignment = codec.build(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster,
        endpoints=[
            _group(where, near[distance, where], priorities[distance], weighted=weighted)
            for distance, where in sorted(near)
        ],
    )
    return codec.resource(cluster, assignment)


def _group(where: Locality, endpoints: Collection[Endpoint], priority: int, *, weighted: bool) -> dict[str, Any]:
    listed = [
        {"endpoint": {"address": {"socket_address": {"address": e.host, "port_value": e.port}}}}
        for e in sorted(endpoints, key=lambda e: (e.host, e.port))
    ]
    return {
        "lb_endpoints": listed,
        **({"locality": where.fields()} if where != NOWHERE or weighted else {}),
        **({"priority": priority} if priority else {}),
        **({"load_balancing_weight": {"value": len(endpoints)}} if weighted else {}),
    }
