"""The demo's external hub."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringfence.broker.demo.workloads.hub import HOST, SEEDS, HubHandler, certificates, secured
from ringfence.broker.demo.workloads.registry import seed, serve


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The port of a hub, and a client context that trusts its CA alone."""
    ca, identity = certificates(datetime.now(UTC))
    seed(tmp_path, SEEDS)
    with serve(tmp_path, 0, HubHandler) as server:
        secured(server, identity, tmp_path)
        assert not (tmp_path / "hub.pem").exists()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1], ssl.create_default_context(cadata=ca.decode())
        server.shutdown()
        thread.join()


def ask(port: int, context: ssl.SSLContext, method: str, path: str) -> tuple[int, bytes]:
    """One request over TLS that checks the hub's name."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as stream,
    ):
        stream.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        response = http.client.HTTPResponse(stream)
        response.begin()
        return response.status, response.read()


def test_the_base_model_is_served_under_the_hubs_name(hub: tuple[int, ssl.SSLContext]):
    """A client that trusts the hub's CA and checks its name gets the model, and nothing else."""
    status, body = ask(*hub, "GET", "/models/base")
    assert status == 200
    assert b"mean" in body
    assert ask(*hub, "GET", "/models/other")[0] == 404
    assert ask(*hub, "GET", "/models/../hub.pem")[0] == 404
    assert ask(*hub, "PUT", "/models/base")[0] == 405


def test_a_client_that_does_not_speak_stops_nobody(hub: tuple[int, ssl.SSLContext]):
    """The handshake of a silent connection is not waited for."""
    with socket.create_connection(("127.0.0.1", hub[0])):
        assert ask(*hub, "GET", "/models/base")[0] == 200
