"""The other end of a probe: for a while, for one peer, it swallows what comes over TCP and says how much it was."""

from __future__ import annotations

import socket
import time

GREETING = b"ringfence probe 1\n"  # said before anything is sent: nothing is sent to whom does not say it
MAX_DATA = 1 << 30  # bytes of one connection; more ends it
MAX_CONNECTIONS = 64
_CHUNK = 1 << 20


def listening(address: str, port: int) -> socket.socket:
    """A socket at one address, never at all of them; raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def respond(server: socket.socket, peer: str, seconds: float) -> int:
    """Answer *peer*, and nobody else, one connection at a time; the number of probes that were whole."""
    ends, answered = time.monotonic() + seconds, 0
    for _ in range(MAX_CONNECTIONS):
        server.settimeout(max(ends - time.monotonic(), 0.001))
        try:
            line, caller = server.accept()
        except TimeoutError:
            break
        with line:
            if caller[0].partition("%")[0] == peer:
                answered += _swallow(line, ends)
    return answered


def _swallow(line: socket.socket, ends: float) -> bool:
    """Whether the peer ended by itself, within the bounds, and was told."""
    taken, room = 0, bytearray(_CHUNK)
    try:
        line.sendall(GREETING)
        while taken <= MAX_DATA and (left := ends - time.monotonic()) > 0:
            line.settimeout(left)
            got = line.recv_into(room)
            if not got:
                line.sendall(taken.to_bytes(8, "big"))
                return True
            taken += got
    except OSError:
        return False
    return False
