"""What a launcher must know to build a workload's proxy."""

from __future__ import annotations

from typing import Any

from ringfence.broker.fleet.scope import Scope
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model
from ringfence.policy.scope import Upstream
from ringfence.proxy.v1 import proxy_pb2


def describe(scope: Scope, spiffe_id: SpiffeId, revision: str) -> Any:
    """The DescribeResponse for a workload: what it serves, what it may reach, and by which environment variables.

    *spiffe_id*: who asks, one rank of a job; *revision*: of the model in force.
    """
    workload = scope.workload
    return proxy_pb2.DescribeResponse(
        spiffe_id=str(spiffe_id),
        namespace=workload.namespace,
        workload=workload.name,
        served=[
            proxy_pb2.Served(
                name=port.name, port=port.number, protocol=port.protocol.value, socket=port.socket, last=port.last
            )
            for port in workload.serves
        ],
        upstreams=[_upstream(scope.model, upstream) for upstream in scope.upstreams],
        revision=revision,
        egress=True,  # without externals too: a call to an undeclared host then ends in a named denial
    )


def _upstream(model: Model, upstream: Upstream) -> Any:
    port = None if upstream.external else model.workloads[upstream.key].port(upstream.port)
    ends = {"first": port.number, "last": port.last} if port is not None and port.last else {}
    return proxy_pb2.Upstream(
        key=upstream.name, env=upstream.env_name, protocol=upstream.protocol.value, external=upstream.external, **ends
    )
