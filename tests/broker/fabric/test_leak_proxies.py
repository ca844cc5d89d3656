"""What a proxy's admin interface is asked, and where it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ringfence.broker.fabric import leak_proxies
from ringfence.broker.fabric.leak_proxies import admin_of, exchanged, shown

STATS = b"cluster.store.upstream_cx_rx_bytes_total: 40\ncluster.store.upstream_cx_tx_bytes_total: 2\n"


class _Admin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Envoy's page, for its path alone."""
        self.send_response(200 if self.path.startswith("/stats?filter=") else 404)
        self.end_headers()
        self.wfile.write(STATS)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nobody reads it."""


@pytest.fixture
def admin() -> Iterator[str]:
    """The address of something that answers as Envoy does."""
    with HTTPServer(("127.0.0.1", 0), _Admin) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_bytes_of_upstreams_are_asked_for(admin: str) -> None:
    """One that does not answer tells nothing, which is not nought."""
    assert exchanged(admin) == {"store": 42}
    assert exchanged("127.0.0.1:1") is None
    assert exchanged("/nowhere.sock") is None


def test_the_admin_interface_is_read_from_its_configuration() -> None:
    """As that process sees it; what is no such JSON has none."""
    pipe = {"admin": {"address": {"pipe": {"path": "/run/x/admin.sock"}}}}
    port = {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}}}
    assert admin_of(json.dumps(pipe), "/proc/7/root") == "/proc/7/root/run/x/admin.sock"
    assert admin_of(json.dumps(port), "/proc/7/root") == "127.0.0.1:9901"
    for wrong in ("", "[]", "{}", "admin:\n  address: x", "[" * 100_000, '{"admin":{"address":{"pipe":7}}}'):
        assert admin_of(wrong, "") == ""
    assert leak_proxies._read(Path("/nowhere")) == ""
    assert shown("/proc/7/root/run/x/admin.sock") == "/run/x/admin.sock"
    assert shown("127.0.0.1:9901") == "127.0.0.1:9901"
