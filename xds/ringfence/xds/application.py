"""The workload's own port, to which its proxy hands on what was let in: a cluster of one address on this host."""

from __future__ import annotations

from datetime import timedelta

from ringfence.policy.model import Port
from ringfence.xds import codec, http, ranges
from ringfence.xds.instance import Address, Instance
from ringfence.xds.snapshot import Resource

_CLUSTER = "envoy.config.cluster.v3.Cluster"


def name(port: Port) -> str:
    """The cluster of the workload's own port."""
    return f"app/{port.name}"


def cluster(port: Port, instance: Instance) -> tuple[str, Resource]:
    """The socket of its own that the workload wrote, what the proxy was told of, or loopback; of a range, its relay."""
    own = name(port)
    if port.last and port.name not in instance.application:
        return ranges.application(own)
    if port.socket:
        address = {"pipe": {"path": f"{instance.socket_dir}/{port.socket}"}}
    else:
        address = codec.socket_address(instance.application.get(port.name) or _loopback(port))
    made = codec.build(
        _CLUSTER,
        name=own,
        type="STATIC",
        connect_timeout=timedelta(seconds=5),
        load_assignment={
            "cluster_name": own,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        typed_extension_protocol_options=http.protocol_options(port.protocol) if port.protocol.is_http else {},
        transport_socket=ranges.relayed() if port.last else None,
    )
    return codec.resource(own, made)


def _loopback(port: Port) -> Address:
    return "127.0.0.1", port.number
