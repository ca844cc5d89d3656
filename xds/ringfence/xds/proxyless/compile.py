"""Everything that a gRPC library of one workload may ask for: what it may serve, and what it may dial."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ringfence.policy.model import Model, Protocol, Workload
from ringfence.policy.scope import upstreams_of
from ringfence.xds.instance import Instance
from ringfence.xds.outbound import Endpoints
from ringfence.xds.proxyless.client import dialled
from ringfence.xds.proxyless.server import served
from ringfence.xds.snapshot import Resource


def proxyless(
    model: Model, workload: Workload, instance: Instance, endpoints: Endpoints, *, now: datetime
) -> Iterator[tuple[str, Resource]]:
    """The (type URL, resource) pairs; pure. What gRPC has no words for is in `losses`."""
    yield from served(model, workload, instance, now)
    for upstream in upstreams_of(model, workload):
        if upstream.protocol is Protocol.GRPC and not upstream.external:
            yield from dialled(model, upstream, endpoints, instance.locality)
