"""Ports for programs that cannot be handed a socket: nobody else's, for as long as this process of tests lives."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from errno import EADDRINUSE

# Below what Linux draws from (ip(7), ip_local_port_range): no connection and no port 0 of others ever gets one of
# these, so that a server which is killed finds its port again.
_RANGE = range(20_000, 32_768)
_HELD: list[socket.socket] = []


def free_port() -> int:
    """A port that no other call gave out, in whatever process of tests on this machine, and on which nobody listens."""
    for port in random.sample(_RANGE, len(_RANGE)):
        with ExitStack() as undo:
            # An abstract name is one process's, and gone with it however it ends.
            mark = undo.enter_context(socket.socket(socket.AF_UNIX))
            try:
                mark.bind(f"\0ringfence-test-port-{port}")
                socket.create_server(("127.0.0.1", port)).close()
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise
                continue
            undo.pop_all()
            _HELD.append(mark)
            return port
    raise AssertionError("every port is taken")
