"""Where ciphertext is read, by all TLS connections of a listener in turn: none has a buffer of its own."""

from __future__ import annotations

import socket
import ssl

_CHUNK = 64 * 1024  # that is read at once


class Inlet:
    """The ciphertext of the one connection that is being read, on its way into OpenSSL, which keeps parts of records.

    Whoever has filled it reads until nothing is left, and clears it: what stayed would be taken for the next one's.
    """

    __slots__ = ("_view", "bio")

    def __init__(self) -> None:
        self.bio = ssl.MemoryBIO()
        self._view = memoryview(bytearray(_CHUNK))

    def fill(self, sock: socket.socket) -> bool:
        """Take what has arrived on *sock*; False at its end. Raises OSError, BlockingIOError when that is nothing."""
        size = sock.recv_into(self._view)
        self.bio.write(self._view[:size])
        return size > 0

    def clear(self) -> None:
        """Drop what a connection that failed has left."""
        if self.bio.pending:
            self.bio.read()
