"""Who listens on the store's port, as the kernel tells it, and that a store for everybody is found."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from ringfence.broker.run.store_watch import exposed, listening, watch
from ringfence.certs.errors import Kind, RingfenceError


@contextmanager
def listener(host: str, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """Somebody who listens there, on the port that is given."""
    with socket.create_server((host, 0), family=family) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_addresses_of_ipv4_are_read(host: str) -> None:
    """In the byte order of /proc."""
    with listener(host) as port:
        assert list(listening(os.getpid(), port)) == [ip_address(host)]
    assert list(listening(os.getpid(), port)) == []


@pytest.mark.parametrize("host", ["::1", "::"])
def test_the_addresses_of_ipv6_are_read(host: str) -> None:
    """PyTorch's store listens by IPv6 for both, where it can."""
    with listener(host, socket.AF_INET6) as port:
        assert list(listening(os.getpid(), port)) == [ip_address(host)]


def test_who_is_connected_does_not_listen() -> None:
    """And a process that is gone has no sockets."""
    with listener("127.0.0.1") as port, socket.create_connection(("127.0.0.1", port), 20) as line:
        assert list(listening(os.getpid(), line.getsockname()[1])) == []
        assert list(listening(2**22 + 1, port)) == []


async def test_a_store_for_everybody_ends_the_watch() -> None:
    """As soon as it is seen."""
    with listener("0.0.0.0") as port:
        with pytest.raises(RingfenceError, match=f"port {port} would be open to everybody.*0.0.0.0") as caught:
            await watch(os.getpid(), port)
        assert caught.value.kind is Kind.DENIED


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_store_on_loopback_is_let_be(host: str, family: socket.AddressFamily) -> None:
    """Only this node's programs reach it."""
    with listener(host, family) as port:
        assert exposed(os.getpid(), port) == ""
