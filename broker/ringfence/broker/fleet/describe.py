"""What a launcher must know to build a workload's proxy."""

from __future__ import annotations

from typing import Any

from ringfence.broker.fleet.scope import Scope
from ringfence.proxy.v1 import proxy_pb2


def describe(scope: Scope) -> Any:
    """The DescribeResponse for a workload: what it serves, what it may reach, and by which environment variables."""
    workload = scope.workload
    return proxy_pb2.DescribeResponse(
        spiffe_id=str(workload.spiffe_id),
        namespace=workload.namespace,
        workload=workload.name,
        served=[
            proxy_pb2.Served(name=port.name, port=port.number, protocol=port.protocol.value, socket=port.socket)
            for port in workload.serves
        ],
        upstreams=[
            proxy_pb2.Upstream(key=up.name, env=up.env_name, protocol=up.protocol.value, external=up.external)
            for up in scope.upstreams
        ],
        revision=scope.model.revision,
        egress=True,  # without externals too: a call to an undeclared host then ends in a named denial
    )
