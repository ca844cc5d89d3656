"""Real Envoys for tests, and what stands behind and in front of them."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from ringfence.xds import codec
from ringfence.xds.sources import AGENT_CLUSTER, SERVER_CLUSTER
from tests import parts
from tests.e2e.plane import until

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@contextmanager
def envoy(node_id: str, plane_port: int, agent_socket: str, folder: Path, resolver: int = 0) -> Iterator[Path]:
    """A running Envoy of that node id; yields the path of its log, which is shown when it ends by itself.

    With *resolver* it asks the name server at that port of this host.
    """
    config = folder / f"{node_id}.json"
    bootstrap = json.loads(_bootstrap(node_id, plane_port, agent_socket, folder))
    config.write_text(json.dumps(bootstrap | (_resolved_by(resolver) if resolver else {})))
    log = folder / f"{node_id}.log"
    command = [parts.envoy(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "info"]
    process = subprocess.Popen(
        [*command, "--log-path", str(log), "--drain-time-s", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield log
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait(30)


def _bootstrap(node_id: str, plane_port: int, agent_socket: str, folder: Path) -> str:
    source = {"ads": {}, "resource_api_version": "V3"}
    service = {"envoy_grpc": {"cluster_name": SERVER_CLUSTER}}
    made = codec.build(
        "envoy.config.bootstrap.v3.Bootstrap",
        node={"id": node_id, "cluster": "test"},
        admin={"address": {"pipe": {"path": str(folder / f"{node_id}.admin")}}},
        static_resources={
            "clusters": [
                _cluster(SERVER_CLUSTER, {"socket_address": {"address": "127.0.0.1", "port_value": plane_port}}),
                _cluster(AGENT_CLUSTER, {"pipe": {"path": agent_socket}}),
            ]
        },
        dynamic_resources={
            "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]},
            "lds_config": source,
            "cds_config": source,
        },
    )
    return codec.to_json(made)


def _resolved_by(port: int) -> dict[str, Any]:
    asked = {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": port}}],
        "dns_resolver_options": {"no_default_search_domain": True},
    }
    return {"typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": asked}}


def _cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            _OPTIONS: codec.packed(_OPTIONS, explicit_http_config={"http2_protocol_options": {}})
        },
    }


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Say what was asked."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"method": self.command, "path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # names that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Keep the terminal clean."""


@contextmanager
def http_app(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """An application that answers every request with what was asked; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with served(server):
        yield int(server.server_address[1])


@contextmanager
def tcp_app(path: str) -> Iterator[list[bytes]]:
    """An application on a Unix socket that greets, then sends back what comes; yields what it received."""
    received: list[bytes] = []

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello ")
            while data := self.request.recv(4096):
                received.append(data)
                self.request.sendall(data)

    server = socketserver.ThreadingUnixStreamServer(path, Greeter)
    server.daemon_threads = True
    with served(server):
        yield received


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    """An application's server, at work in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@dataclass
class Answer:
    """A response, read whole."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def echoed(self) -> dict[str, Any]:
        """What the application said that it was asked."""
        read: dict[str, Any] = json.loads(self.body)
        return read


class Caller:
    """One connection to a listener, kept alive, with or without TLS."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=30)
        try:
            self.socket: socket.socket = tls.wrap_socket(raw) if tls else raw
        except BaseException:
            raw.close()
            raise
        self._http = HTTPConnection("127.0.0.1", port)
        self._http.sock = self.socket
        self._http.auto_open = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, method: str, path: str, **headers: str) -> Answer:
        """Send a request with the path exactly as given."""
        lines = [(name.replace("__", "_"), value.encode()) for name, value in headers.items() if name != "host"]
        return self.ask_raw(method, path, lines, host=headers.get("host", "registry"))

    def ask_raw(self, method: str, path: str, lines: Sequence[tuple[str, bytes]], host: str = "registry") -> Answer:
        """The same with header lines as they are to be sent, repeated ones too."""
        self._http.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("host", host.encode()), *lines]:
            self._http.putheader(name, value)
        self._http.endheaders()
        response: HTTPResponse = self._http.getresponse()
        return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})


def stat(admin: Path, name: str) -> int | None:
    """One figure of an Envoy by its admin socket; None while there is none."""
    with socket.socket(socket.AF_UNIX) as raw:
        try:
            raw.connect(str(admin))
        except OSError:
            return None
        raw.sendall(f"GET /stats?filter=^{name}$ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    _, found, value = answer.rpartition(f"{name}: ")
    return int(value.split()[0]) if found else None


def listening(port: int, host: str = "127.0.0.1") -> None:
    """Wait until something listens there."""

    def connects() -> bool:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
        return True

    until(connects, f"a listener on {port}")
