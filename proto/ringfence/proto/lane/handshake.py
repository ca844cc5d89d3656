"""TLS handshakes on sockets of ours: when one begins, how long it may take, and what becomes of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from ringfence.proto.lane.gate import Gate
from ringfence.proto.lane.inlet import Inlet
from ringfence.proto.lane.tls import TlsTransport

TlsContext = Callable[[], ssl.SSLContext]
Over = Callable[[TlsTransport | Exception], None]


class Handshake:
    """An accepted socket on its way to a transport; *over* is told that, or why there is none.

    A client has *seconds* to say its first word, and as many again from when it is our turn to answer that.
    """

    __slots__ = (
        "_context",
        "_done",
        "_gate",
        "_inlet",
        "_loop",
        "_outgoing",
        "_over",
        "_seconds",
        "_sock",
        "_timer",
        "_tls",
    )

    def __init__(
        self, sock: socket.socket, context: TlsContext, gate: Gate, inlet: Inlet, seconds: float, over: Over
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._context = context
        self._gate = gate
        self._inlet = inlet
        self._seconds = seconds
        self._over = over
        self._done = False
        self._tls: ssl.SSLObject | None = None
        self._outgoing = ssl.MemoryBIO()
        self._timer = self._loop.call_later(seconds, self._expire)
        self._loop.add_reader(sock.fileno(), self._on_first_word)

    def _on_first_word(self) -> None:
        # It waits in the kernel, and its clock stands, until it is our turn.
        self._timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._gate.ask(self)

    def begin(self) -> None:
        """It is the client's turn: read what it says, by the context of now."""
        if self._done:
            return
        try:
            context = self._context()
            context.set_alpn_protocols(["h2"])
            self._tls = context.wrap_bio(self._inlet.bio, self._outgoing, server_side=True)
        except OSError as error:
            self._end(error)
            return
        self._timer = self._loop.call_later(self._seconds, self._expire)
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
        self._on_readable()

    def _on_readable(self) -> None:
        try:
            if not self._inlet.fill(self._sock):
                raise ConnectionResetError("the client hung up in its handshake")
            self._go_on()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # ssl.SSLError is one
            self._end(error)
        finally:
            self._inlet.clear()

    def _go_on(self) -> None:
        tls = self._tls
        assert tls is not None  # noqa: S101 - it is read from `begin` on
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._answer()
            return
        except ssl.SSLError:
            self._answer()  # the alert
            raise
        self._answer()
        self._finish(TlsTransport(self._sock, tls, self._inlet, self._outgoing))

    def _answer(self) -> None:
        """Send what TLS says; all of it is less than any new socket takes."""
        said = self._outgoing.read()
        if said and self._sock.send(said) < len(said):
            raise ConnectionAbortedError("the client does not take its part of the handshake")

    def _expire(self) -> None:
        # Where the machine was too busy to read it, what has come counts as come in time.
        if self._tls is not None:
            self._on_readable()
        elif self._has_come():
            self._on_first_word()
            return
        self._end(TimeoutError("the handshake took too long"))

    def _has_come(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._end(ConnectionAbortedError("the server is shutting down"))

    def _end(self, error: Exception) -> None:
        if not self._done:
            self._finish(error)

    def _finish(self, result: TlsTransport | Exception) -> None:
        self._done = True
        self._timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._gate.over(self)
        if isinstance(result, Exception):
            self._sock.close()
        over = self._over
        del self._over  # who is told refers to us: a ring that only the garbage collector would find, all of TLS in it
        over(result)
