"""What every listener that speaks HTTP has: silent streams, WebSocket, and one version of HTTP a port."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.xds import codec, types
from ringfence.xds.snapshot import Snapshot
from tests.xds.intent import INTENT, REGISTRY, TRAINER, snapshot_of
from tests.xds.test_limits import inside
from tests.xds.test_routing import read

HTTP2 = INTENT.replace("port: 8080, protocol: http}", "port: 8080, protocol: http2}")
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def manager(snapshot: Snapshot, where: str) -> Any:
    """The connection manager of a listener."""
    filters = read(snapshot, types.LISTENER, where).filter_chains[0].filters
    return inside(next(one for one in filters if one.name.endswith("http_connection_manager")).typed_config)


def version(snapshot: Snapshot, cluster: str) -> str:
    """Which HTTP a cluster is spoken to with."""
    options = inside(read(snapshot, types.CLUSTER, cluster).typed_extension_protocol_options[_OPTIONS])
    return str(options.explicit_http_config.WhichOneof("protocol_config"))


@pytest.mark.parametrize(
    ("key", "where"), [("shared/registry", "inbound/http"), ("team-a/trainer", "outbound/registry.shared/http")]
)
def test_a_stream_may_be_silent_and_a_head_may_not(key: str, where: str):
    """Envoy's own five minutes cut a model that thinks for longer; who asks nothing is cut after ten seconds."""
    made = manager(snapshot_of(key, REGISTRY if key == "shared/registry" else TRAINER), where)
    assert made.HasField("stream_idle_timeout")
    assert made.stream_idle_timeout.ToTimedelta() == timedelta(0)
    assert made.request_headers_timeout.ToTimedelta() == timedelta(seconds=10)
    assert made.stream_flush_timeout.ToTimedelta() == timedelta(minutes=5)
    assert [one.upgrade_type for one in made.upgrade_configs] == ["websocket"]


def test_an_http2_port_speaks_nothing_else_on_the_whole_way():
    """To the server's proxy, in its handshake, and to the application."""
    caller, server = snapshot_of("team-a/trainer", TRAINER, HTTP2), snapshot_of("shared/registry", REGISTRY, HTTP2)
    assert version(caller, "outbound/registry.shared/http") == "http2_protocol_options"
    assert version(server, "app/http") == "http2_protocol_options"
    socket = read(server, types.LISTENER, "inbound/http").filter_chains[0].transport_socket
    assert list(inside(socket.typed_config).common_tls_context.alpn_protocols) == ["h2"]


def test_an_http_port_of_an_application_is_spoken_to_in_http_1_1():
    """As it was before."""
    server = snapshot_of("shared/registry", REGISTRY)
    assert version(server, "app/http") == "http_protocol_options"
    assert codec.message(_OPTIONS).DESCRIPTOR.full_name == _OPTIONS
