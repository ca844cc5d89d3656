"""Ports for programs that cannot be handed a socket: nobody else's, for as long as this process of tests lives."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from errno import EADDRINUSE

# Below what Linux draws from (ip(7), ip_local_port_range): no connection and no port 0 of others ever gets one of
# these, so that a server which is killed finds its port again. And below what `ringfence run` chooses from, which holds
# nothing until its proxy is up (broker/run/ports.py).
_RANGE = range(5_000, 15_000)
_HELD: list[ExitStack] = []


def free_port() -> int:
    """A port that no other call gave out, in whatever process of tests on this machine, and on which nobody listens."""
    return free_range(1)[0]


def free_range(count: int) -> range:
    """As many such ports in a row."""
    for first in random.sample(_RANGE, len(_RANGE)):
        with ExitStack() as undo:
            if all(port in _RANGE and _take(port, undo) for port in range(first, first + count)):
                _HELD.append(undo.pop_all())
                return range(first, first + count)
    raise AssertionError("every port is taken")


def _take(port: int, undo: ExitStack) -> bool:
    """Whether it was free, and is this process's from now on."""
    # An abstract name is one process's, and gone with it however it ends.
    mark = undo.enter_context(socket.socket(socket.AF_UNIX))
    try:
        mark.bind(f"\0ringfence-test-port-{port}")
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        return False
    return True
