"""The accept loop: ours, because who connects is asked of the kernel at this moment, before a byte is read."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl

from ringfence.proto.lane.connection import Connection
from ringfence.proto.lane.gate import Gate
from ringfence.proto.lane.handshake import Handshake, TlsContext
from ringfence.proto.lane.inlet import Inlet
from ringfence.proto.lane.peer import Peer, unix_peer
from ringfence.proto.lane.service import Service
from ringfence.proto.lane.tls import TlsTransport

# At most so many in one turn of the loop, so that a burst of connects does not hold up calls.
_BURST = 64
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.5


class Listener:
    """One listening socket whose connections a lane serves."""

    def __init__(self, sock: socket.socket, service: Service, address: str, tls: TlsContext | None = None) -> None:
        self._sock = sock
        self._service = service
        self._address = address  # of a Unix socket; empty for TCP, whose peers have their own
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[Handshake] = set()
        self._opening: set[asyncio.Task[None]] = set()  # plain ones, for the moment that the loop takes
        self._gate, self._inlet = Gate(), Inlet()
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Take no more connections; those in their handshake are dropped."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for handshake in tuple(self._handshakes):
            handshake.cancel()
        for opening in self._opening:
            opening.cancel()

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
        under_way = len(self._handshakes) + len(self._opening)
        if len(self._service.connections) + under_way >= self._service.limits.connections:
            sock.close()
            return
        sock.setblocking(False)
        try:
            peer = unix_peer(sock, self._address) if self._address else _tcp_peer(sock, address)
        except OSError:
            sock.close()
            return
        if self._tls is not None:
            self._open_tls(sock, peer, self._tls)
            return
        task = self._loop.create_task(self._open(sock, peer))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, peer: Peer) -> None:
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self._service, peer))
            return made[0]

        try:
            await self._loop.connect_accepted_socket(make, sock)
        except OSError:
            pass  # it has hung up
        finally:
            if not made:
                _let_go(peer)

    def _open_tls(self, sock: socket.socket, peer: Peer, tls: TlsContext) -> None:
        def over(result: TlsTransport | Exception) -> None:
            self._handshakes.discard(handshake)
            if isinstance(result, TlsTransport):
                result.begin(Connection(self._service, peer))
                return
            # A failed handshake concerns the one peer that failed it, and it has been told by TLS.
            _let_go(peer)
            if isinstance(result, ssl.SSLCertVerificationError):
                self._service.on_untrusted(result)

        limit = self._service.limits.hello_seconds
        handshake = Handshake(sock, tls, self._gate, self._inlet, limit, over)
        self._handshakes.add(handshake)


def _let_go(peer: Peer) -> None:
    """Close what a connection that was made closes itself, once its handlers are through."""
    if peer.pidfd is not None:
        os.close(peer.pidfd)


def _tcp_peer(sock: socket.socket, address: object) -> Peer:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no message waits for another
    return Peer(_text(address))


def _text(address: object) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
