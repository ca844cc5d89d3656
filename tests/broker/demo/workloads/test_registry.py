"""The demo's model registry."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.broker.demo.workloads.registry import MAX_MODEL, SEEDS, seed, serve


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    """A kept connection to a registry over *tmp_path*."""
    seed(tmp_path, SEEDS)
    with serve(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
        yield connection
        connection.close()
        server.shutdown()
        thread.join()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of one request whose path goes out as it is written."""
    connection.putrequest(method, path)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    return response.status, response.read()


def test_a_model_is_stored_and_read_on_one_connection(connection: http.client.HTTPConnection):
    """PUT, GET and HEAD of one name; the connection stays open."""
    assert ask(connection, "PUT", "/models/team-a/x", b"weights") == (201, b"")
    local = connection.sock.getsockname()
    assert ask(connection, "GET", "/models/team-a/x?v=1") == (200, b"weights")
    connection.request("HEAD", "/models/team-a/x")
    head = connection.getresponse()
    assert (head.status, head.headers["Content-Length"], head.read()) == (200, "7", b"")
    assert connection.sock.getsockname() == local


def test_a_recipe_and_the_other_teams_model_are_there_from_the_start(connection: http.client.HTTPConnection):
    """What the story reads first is published; what was stored since is not overwritten by a restart."""
    status, body = ask(connection, "GET", "/models/shared/base")
    assert (status, json.loads(body)) == (200, SEEDS["shared/base"])
    assert ask(connection, "GET", "/models/team-b/notes")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/models",
        "/models/a",
        "/models/a/b/c",
        "/models/../etc",
        "/models/a/..",
        "/models/%2e%2e/x",
        "/models/a/.x",
    ],
)
def test_no_other_path_reaches_a_file(connection: http.client.HTTPConnection, path: str):
    """Only two plain names below /models exist, for reading and for writing."""
    assert ask(connection, "GET", path)[0] == 404
    assert ask(connection, "PUT", path, b"x")[0] == 404


def test_a_body_without_end_or_measure_is_refused(connection: http.client.HTTPConnection):
    """A length is required, and has a limit."""
    assert ask(connection, "PUT", "/models/a/b")[0] == 411
    connection.close()
    with socket.create_connection((connection.host, connection.port)) as raw:
        raw.sendall(f"PUT /models/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_MODEL + 1}\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_seed_keeps_what_is_there(tmp_path: Path):
    """Publishing again leaves a changed model alone."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base").write_bytes(b"mine")
    seed(tmp_path, SEEDS)
    assert (tmp_path / "shared" / "base").read_bytes() == b"mine"
