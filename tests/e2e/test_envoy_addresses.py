"""A real Envoy asks where a call comes from beside who calls, for requests and for connections."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.e2e.plane import until
from tests.e2e.registry import Bench, closed, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RULE = """
kind: {kind}
metadata: {{name: {name}, namespace: shared}}
spec:
  from: [{{namespace: team-a, cidrs: [{cidr}]}}]
  to: [{{workload: registry, port: {port}}}]
  owner: ml
  reason: where from
"""
RULES = "---".join(
    RULE.format(kind=kind, name=name, cidr=cidr, port=port)
    for kind, name, cidr, port in (
        ("Allow", "near", "127.0.0.0/30", "http"),
        ("Deny", "not-two", "127.0.0.2/32", "http"),
        ("Allow", "rows", "127.0.0.1/32", "db"),
    )
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        running.apply(RULES)
        until(lambda: status(running, "127.0.0.1") == 200, "the rules")
        yield running


def connected(bench: Bench, port: int, source: str, key: str = "team-a/trainer") -> ssl.SSLSocket:
    """A connection from that address."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    return bench.tls(key).wrap_socket(raw)


def status(bench: Bench, source: str, *lines: str, key: str = "team-a/trainer") -> int:
    """What a request from there is answered with."""
    with connected(bench, bench.http, source, key) as tls:
        head = "".join(f"{line}\r\n" for line in ("host: registry", "connection: close", *lines))
        tls.sendall(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        return int(tls.recv(64).split()[1])


def test_a_request_is_judged_by_where_it_comes_from_too(bench: Bench):
    """By the connection's own address: no header says where a call comes from."""
    assert [status(bench, f"127.0.0.{last}") for last in (1, 2, 3, 4)] == [200, 403, 200, 403]
    for line in ("x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "x-envoy-external-address: 127.0.0.1"):
        assert status(bench, "127.0.0.4", line) == 403
        assert status(bench, "127.0.0.2", line) == 403
    assert status(bench, "127.0.0.1", key="team-b/notebook") == 403
    assert bench.plane.nacks == []


def test_a_connection_is_judged_by_where_it_comes_from_too(bench: Bench):
    """The same on a TCP port."""
    with connected(bench, bench.db, "127.0.0.1") as near:
        near.sendall(b"rows")
        assert near.recv(64)
    with connected(bench, bench.db, "127.0.0.3") as far:
        far.sendall(b"rows")
        assert closed(far)
