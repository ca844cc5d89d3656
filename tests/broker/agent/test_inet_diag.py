"""The kernel ends a single TCP connection: found by its addresses, known by its cookie, its neighbours untouched."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ringfence.broker.agent.inet_diag import Connection, InetDiag
from tests import parts


@pytest.fixture
def kernel() -> Iterator[InetDiag]:
    """Asked by a process that may."""
    with InetDiag() as kernel:
        if why := kernel.why_not():
            parts.missing("leave to destroy sockets", f"run as root on a kernel with INET_DIAG_DESTROY: {why}")
        yield kernel


@pytest.fixture(params=["127.0.0.1", "::1"])
def pairs(request: pytest.FixtureRequest) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Two connections to one listener, each as its caller's and its server's end."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((request.param, 0), family=family))
        made = []
        for _ in range(2):
            caller = stack.enter_context(socket.create_connection(server.getsockname()[:2], timeout=30))
            accepted = stack.enter_context(server.accept()[0])
            accepted.settimeout(30)
            made.append((caller, accepted))
        yield made


def ends(accepted: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    """Its two addresses."""
    local, remote = accepted.getsockname()[:2], accepted.getpeername()[:2]
    return (local[0], local[1]), (remote[0], remote[1])


def test_one_connection_is_reset_at_both_ends_and_its_neighbour_lives_on(
    kernel: InetDiag, pairs: list[tuple[socket.socket, socket.socket]]
):
    """Whose it is, is told first."""
    (caller, accepted), (other_caller, other) = pairs
    found = kernel.find(*ends(accepted))
    assert found is not None
    assert found.uid == os.getuid()
    assert kernel.destroy(found)
    with pytest.raises(ConnectionResetError):
        caller.recv(1)
    with pytest.raises(ConnectionError):
        accepted.recv(1)
    other_caller.sendall(b"x")
    assert other.recv(1) == b"x"


def test_all_that_is_open_is_listed(kernel: InetDiag, pairs: list[tuple[socket.socket, socket.socket]]):
    """From both sides; by what is listed one can be ended."""
    listed = {(one.local, one.remote): one for one in kernel.open_connections()}
    for caller, accepted in pairs:
        assert listed[ends(accepted)].uid == listed[ends(caller)].uid == os.getuid()
    assert kernel.destroy(listed[ends(pairs[0][1])])
    assert kernel.find(*ends(pairs[1][1])) == listed[ends(pairs[1][1])]


def test_what_is_gone_is_not_found_and_not_destroyed(
    kernel: InetDiag, pairs: list[tuple[socket.socket, socket.socket]]
):
    """Nor is another connection that has the addresses meanwhile: the cookie is another one."""
    local, remote = ends(pairs[0][1])
    found = kernel.find(local, remote)
    assert found is not None
    assert not kernel.destroy(Connection(local, remote, found.uid, bytes(8)[:7] + b"\x01"))
    assert kernel.destroy(found)
    assert not kernel.destroy(found)
    assert kernel.find(("127.0.0.1", 1), ("127.0.0.1", 1)) is None


def test_who_listens_where_a_connection_was_is_not_taken_for_it(
    kernel: InetDiag, pairs: list[tuple[socket.socket, socket.socket]]
):
    """The kernel falls back to the listener, which is of the same user: to destroy it would close the port for all."""
    caller, accepted = pairs[0]
    local, remote = ends(accepted)
    found = kernel.find(local, remote)
    assert found is not None
    assert kernel.destroy(found)
    accepted.close()
    caller.close()
    assert kernel.find(local, remote) is None
    socket.create_connection(local, timeout=30).close()
