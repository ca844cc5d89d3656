"""A range of ports behind one listener on each side: the number that a caller dials goes along as the SNI.

The caller's listener binds every number and writes the dialled one into the connection; the called side's knows its
numbers, refuses any other before it reads a byte, and connects to the same number on its own loopback.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ringfence.policy.model import Port
from ringfence.xds import codec
from ringfence.xds.snapshot import Resource

Fields = dict[str, Any]

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_FILTER_STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"
_PROXY_PROTOCOL = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_WITH_HEAD = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
TOLD = 0xE0  # the type of what a relay is told; the first that is anybody's own (proxy-protocol.txt, 2.2.7)
# Names that Envoy itself reads (well_known_filter_state.rst): the SNI of a connection, and where its cluster connects.
_SNI = "envoy.network.upstream_server_name"
_ADDRESS = "envoy.network.transport_socket.original_dst_address"


def dialled() -> Fields:
    """The filter of a caller's listener that remembers which of its ports was dialled."""
    value = _said(_SNI, "%DOWNSTREAM_LOCAL_PORT%")
    return codec.extension("ringfence.dialled", _FILTER_STATE, on_new_connection=[value])


def told() -> Fields:
    """The listener filter that takes the number from a relay in front of it (PROXY protocol): a pipe has none."""
    return codec.extension("envoy.filters.listener.proxy_protocol", _PROXY_PROTOCOL)


def more_addresses(host: str, port: Port) -> list[Fields]:
    """The addresses of a caller's listener beside that of the first number."""
    return [
        {"address": {"socket_address": {"address": host, "port_value": number}}} for number in list(port.numbers)[1:]
    ]


def only_declared(port: Port) -> Fields:
    """Which connections the called side's filter chain takes."""
    return {"server_names": [str(number) for number in port.numbers]}


def inspector() -> Fields:
    """The listener filter that finds it out."""
    return codec.extension("envoy.filters.listener.tls_inspector", _INSPECTOR)


def wanted() -> Fields:
    """What the called side remembers at the handshake: the workload's own address of that number."""
    return _said(_ADDRESS, "127.0.0.1:%REQUESTED_SERVER_NAME%")


def telling() -> Fields:
    """What a TCP proxy is to tell a relay behind it: which number is meant."""
    number = {"text_format_source": {"inline_string": "%REQUESTED_SERVER_NAME%"}}
    return {"proxy_protocol_tlvs": [{"type": TOLD, "format_string": number}]}


def relayed() -> Fields:
    """The transport to that relay: a head with what it is told (PROXY protocol, version 2), and then the bytes."""
    raw = codec.extension("envoy.transport_sockets.raw_buffer", _RAW)
    config = {"version": "V2", "pass_through_tlvs": {"match_type": "INCLUDE", "tlv_type": [TOLD]}}
    return codec.extension(
        "envoy.transport_sockets.upstream_proxy_protocol", _WITH_HEAD, config=config, transport_socket=raw
    )


def application(name: str) -> tuple[str, Resource]:
    """The cluster of the workload's own ports: wherever the connection says, which is nowhere but on loopback."""
    cluster = codec.build(
        _CLUSTER,
        name=name,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=timedelta(seconds=5),
    )
    return codec.resource(name, cluster)


def _said(key: str, text: str) -> Fields:
    return {
        "object_key": key,
        "format_string": {"text_format_source": {"inline_string": text}},
        "read_only": True,
    }
