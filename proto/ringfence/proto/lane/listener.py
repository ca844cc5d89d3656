"""The accept loop: ours, because who connects is asked of the kernel at this moment, before a byte is read."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable

from ringfence.proto.lane.connection import Connection
from ringfence.proto.lane.peer import Peer, unix_peer
from ringfence.proto.lane.service import Service

# At most so many in one turn of the loop, so that a burst of connects does not hold up calls.
_BURST = 64
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.5
# For the client's close_notify after ours: it says nothing that GOAWAY has not.
_GOODBYE_SECONDS = 1.0

TlsContext = Callable[[], ssl.SSLContext]


class Listener:
    """One listening socket whose connections a lane serves."""

    def __init__(self, sock: socket.socket, service: Service, address: str, tls: TlsContext | None = None) -> None:
        self._sock = sock
        self._service = service
        self._address = address  # of a Unix socket; empty for TCP, whose peers have their own
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections; those in their handshake are dropped."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                self._rest()
                return
            self._take(sock, address)

    def _rest(self) -> None:
        """No file is left for a connection: let some end, instead of spinning on accept."""
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _take(self, sock: socket.socket, address: object) -> None:
        if len(self._service.connections) + len(self._handshakes) >= self._service.limits.connections:
            sock.close()
            return
        sock.setblocking(False)
        try:
            peer = unix_peer(sock, self._address) if self._address else Peer(_text(address))
        except OSError:
            sock.close()
            return
        task = self._loop.create_task(self._open(sock, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _open(self, sock: socket.socket, peer: Peer) -> None:
        connection: Connection | None = None

        def make() -> Connection:
            nonlocal connection
            connection = Connection(self._service, peer)
            return connection

        try:
            await self._connect(make, sock)
        except ssl.SSLCertVerificationError as error:
            self._service.on_untrusted(error)
        except OSError:  # ssl.SSLError is one
            pass  # a failed handshake concerns the one peer that failed it, and it has been told by TLS
        finally:
            # A connection that was made closes it itself, once its handlers are through.
            if connection is None and peer.pidfd is not None:
                os.close(peer.pidfd)

    async def _connect(self, make: Callable[[], Connection], sock: socket.socket) -> None:
        if self._tls is None:
            await self._loop.connect_accepted_socket(make, sock)
            return
        context = self._tls()
        context.set_alpn_protocols(["h2"])
        limit = self._service.limits.hello_seconds
        await self._loop.connect_accepted_socket(
            make, sock, ssl=context, ssl_handshake_timeout=limit, ssl_shutdown_timeout=_GOODBYE_SECONDS
        )


def _text(address: object) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
