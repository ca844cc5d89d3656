"""What sockets moved, of those that are open and of those that were closed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringfence.broker.fabric.leak_sockets import Ends, Figures, connected
from tests import parts

SIZE = 300_000


@contextmanager
def moved(family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[tuple[int, int]]:
    """The ports of both ends of a connection on which SIZE bytes went one way."""
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as near,
        server.accept()[0] as far,
    ):
        sender = threading.Thread(target=near.sendall, args=(bytes(SIZE),))
        sender.start()
        left = SIZE
        while left:
            left -= len(far.recv(left))
        sender.join()
        yield near.getsockname()[1], far.getsockname()[1]


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_open_sockets_tell_what_they_moved(family: int, host: str) -> None:
    """At both of their ends, with whose they are."""
    with moved(family, host) as (near, far):
        found = {one.local_port: one for one in connected()}
        assert (found[near].local, found[near].peer, found[near].peer_port) == (host, host, far)
        assert SIZE <= found[near].sent < 2 * SIZE  # what is sent again counts again
        assert found[near].received == 0
        assert (found[far].sent, found[far].received) == (0, SIZE)
        assert found[near].inode
        assert found[near].segments_out > 0


def test_an_address_of_ipv4_in_ipv6_is_the_former() -> None:
    """PyTorch's store listens on [::], and its peers dial by IPv4."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            found = next(one for one in connected() if one.local_port == port)
    assert (found.local, found.peer) == ("127.0.0.1", "127.0.0.1")


def test_closed_sockets_tell_their_last_figures() -> None:
    """By the cookie under which they were known."""
    parts.root()
    with Ends() as ends:
        with moved() as ports:
            known = {one.cookie: one for one in connected() if one.local_port in ports}
        found: dict[bytes, Figures] = {}
        until = time.monotonic() + 20
        while not known.keys() <= found.keys() and time.monotonic() < until:
            found |= {one.cookie: one for one in ends.read()}
        assert ends.whole
    assert known.keys() <= found.keys()
    for cookie, before in known.items():
        assert found[cookie].sent >= before.sent
        assert found[cookie].received in {before.received, before.received + 1}  # its end counts as one
        assert found[cookie].inode == 0
