"""A real Envoy with listeners of its own that takes its secrets from a socket: no control plane but that."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import parts

NODE = "conformance"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_ROUTE = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
_GREETS = {
    "@type": f"type.googleapis.com/{_HTTP}",
    "stat_prefix": "greeter",
    "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{_ROUTER}"}}],
    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_ROUTE]}]},
}


def _secret(name: str) -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": "secrets"}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def greeter(port: int, *, name: str = "default", only: str = "") -> dict[str, Any]:
    """A listener with the certificate *name* that greets whom `ALL` vouches for: *only* that ID, or anybody."""
    matchers = [{"san_type": "URI", "matcher": {"exact": only}}] if only else []
    context = {
        "tls_certificate_sds_secret_configs": [_secret(name)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": _secret("ALL"),
        },
    }
    tls = {"@type": f"{_TLS}DownstreamTlsContext", "common_tls_context": context}
    chain = {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _GREETS}],
    }
    return _listener(port, chain)


def passage(port: int, cluster: str) -> dict[str, Any]:
    """A listener that passes bytes to *cluster*."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": cluster,
        "cluster": cluster,
    }
    return _listener(port, {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]})


def upstream(name: str, port: int, tls_params: Mapping[str, str]) -> dict[str, Any]:
    """A cluster that speaks TLS to a local port."""
    tls = {"@type": f"{_TLS}UpstreamTlsContext", "common_tls_context": {"tls_params": tls_params}}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    socket_ = {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}}
    return {**_cluster(name, address), **socket_}


def _listener(port: int, chain: Mapping[str, Any]) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": str(port), "address": address, "filter_chains": [chain]}


def _cluster(name: str, address: Mapping[str, Any]) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


@contextmanager
def envoy(
    folder: Path, secrets: Path, listeners: Sequence[Mapping[str, Any]], clusters: Sequence[Mapping[str, Any]] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Running, with its secrets from the socket *secrets*."""
    http2 = {
        _OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
    }
    agent = {**_cluster("secrets", {"pipe": {"path": str(secrets)}}), "typed_extension_protocol_options": http2}
    config = folder / "envoy.json"
    static = {"listeners": listeners, "clusters": [agent, *clusters]}
    config.write_text(json.dumps({"node": {"id": NODE, "cluster": "test"}, "static_resources": static}))
    command = [parts.envoy(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with (folder / "envoy.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
            assert process.poll() is None, (folder / "envoy.log").read_text()
        finally:
            process.kill()


def said(port: int, tls: ssl.SSLContext | None = None) -> bytes:
    """What a listener answers to a request; nothing when it will not have us. A time-out is an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        try:
            with tls.wrap_socket(raw) if tls else raw as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                return connection.recv(64)
        except (ssl.SSLError, ConnectionError):
            return b""


def greets(port: int, tls: ssl.SSLContext) -> bool:
    """Whether a listener lets us in."""
    return said(port, tls).startswith(b"HTTP/1.1 200")
