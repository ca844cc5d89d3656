"""The whole of it as its commands start it: a revoked caller's TCP connection is cut, its neighbour's is not."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.agent.inet_diag import InetDiag
from ringfence.certs.spiffe_id import SpiffeId
from tests import parts
from tests.e2e.plane import until
from tests.e2e.registry import closed
from tests.e2e.stack import Stack, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: one, namespace: perf}
spec: {match: [{unix.uid: 4294967293}]}
---
kind: Workload
metadata: {name: other, namespace: perf}
spec: {match: [{unix.uid: 4294967294}]}
---
kind: Workload
metadata: {name: web, namespace: shared}
spec: {launch: {by: [{unix.uid: UID}]}, serves: [{name: db, port: DB, protocol: tcp}]}
---
kind: Allow
metadata: {name: callers, namespace: perf}
spec: {from: [{namespace: perf}], to: [{workload: web, namespace: shared, port: db}], owner: o, reason: r}
"""
TOLD = 3.0  # seconds; Envoy tells within one of them
DRAIN = 5.0  # seconds, by which any drain would have ended everything on the port
ONE = "spiffe://example.org/ns/perf/sa/one"


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server, an agent that may reset connections, and what they enforce."""
    with InetDiag() as kernel:
        if why := kernel.why_not():
            parts.missing("leave to destroy sockets", f"run as root on a kernel with INET_DIAG_DESTROY: {why}")
    parts.root()
    text = INTENT.replace("UID", "0").replace("DB", str(free_port()))
    with running_stack(tmp_path_factory.mktemp("e"), text) as running:
        yield running


@contextmanager
def line(stack: Stack, port: int, name: str) -> Iterator[ssl.SSLSocket]:
    """A connection of that caller."""
    context = stack.authority().issue(SpiffeId.parse(f"spiffe://example.org/ns/perf/sa/{name}")).client(stack.folder)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, context.wrap_socket(raw) as tls:
        yield tls


def echoes(tls: ssl.SSLSocket) -> bool:
    """Whether what is sent comes back."""
    tls.sendall(b"rows")
    return tls.recv(64) == b"rows"


def test_a_revocation_cuts_one_connection_and_spares_the_other(stack: Stack) -> None:
    """By `ringfence run`, the agent that it asked, the proxy's own word and the kernel."""
    port = stack.workload("shared/web").inbound("db")
    with line(stack, port, "one") as gone, line(stack, port, "other") as neighbour:
        opened = time.monotonic()
        while time.monotonic() < opened + TOLD:
            assert echoes(gone)
            assert echoes(neighbour)
        asked = admin.RevokeIdentitiesRequest(spiffe_ids=[ONE], reason="left")
        stack.admin.RevokeIdentities(asked)
        assert closed(gone)
        ended = time.monotonic()
        while time.monotonic() < ended + DRAIN:
            assert echoes(neighbour)
    until(lambda: refused(stack, port), "the refusal")


def refused(stack: Stack, port: int) -> bool:
    """Whether a new connection is."""
    try:
        with line(stack, port, "one") as tls:
            return not echoes(tls)
    except OSError:
        return True
