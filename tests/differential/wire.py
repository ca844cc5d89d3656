"""One HTTP/2 connection that asks many things at once, whatever server is behind it, and says which were let in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.differential.cases import Asked

_PATIENCE = 30.0  # seconds for all that is asked at once
_EMPTY_MESSAGE = bytes(5)  # of gRPC: not compressed, no bytes
# Answers to what no application has seen. To a gRPC request Envoy says 403 as PERMISSION_DENIED and 400 as INTERNAL;
# gRPC's server ends a call by another method than POST with INTERNAL.
_REFUSALS = frozenset({"400", "403", "404", "405"})
_REFUSED = frozenset({"7", "13"})


class ClosedError(ConnectionError):
    """The connection ended before everything was answered: it is to be asked on another one."""


@dataclass
class _Answer:
    method: str
    path: str
    status: str = ""
    grpc_status: str = ""
    message: str = ""
    reset: bool = False

    def let_in(self) -> bool:
        """Whether the application answered; raises ValueError for what is neither yes nor no."""
        if self.reset or self.status in _REFUSALS or self.grpc_status in _REFUSED:
            return False
        if self.status != "200" or self.grpc_status not in {"", "0"}:
            raise ValueError(self)
        return True


@dataclass
class Wire:
    """To a loopback port, with a certificate. Raises ClosedError or OSError where the handshake fails."""

    port: int
    tls: ssl.SSLContext
    _answers: dict[int, _Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)
        try:
            self._socket = self.tls.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise
        config = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()

    def ask(self, asked: Sequence[Asked]) -> list[bool]:
        """Which of these were let in."""
        try:
            streams = [self._send(one) for one in asked]
            self._socket.sendall(self._h2.data_to_send())
            open_streams = set(streams)
            while open_streams:
                data = self._socket.recv(65536)
                if not data:
                    raise ClosedError
                for event in self._h2.receive_data(data):
                    self._take(event, open_streams)
                self._socket.sendall(self._h2.data_to_send())
        except (ssl.SSLError, h2.exceptions.ProtocolError, ConnectionError) as error:
            raise ClosedError from error
        return [self._answers.pop(stream).let_in() for stream in streams]

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _send(self, one: Asked) -> int:
        stream: int = self._h2.get_next_available_stream_id()
        headers = [(":method", one.method), (":scheme", "https"), (":path", one.path), (":authority", "mesh")]
        headers += [("content-type", "application/grpc"), ("te", "trailers")]
        # As bytes where they are none of UTF-8.
        told = [(name.encode(), value.encode()) for name, value in headers]
        told += [(name.encode(), value.encode("latin-1")) for name, value in one.headers]
        self._h2.send_headers(stream, told)
        self._h2.send_data(stream, _EMPTY_MESSAGE, end_stream=True)
        self._answers[stream] = _Answer(one.method, one.path)
        return stream

    def _take(self, event: h2.events.Event, open_streams: set[int]) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            said = dict(event.headers or [])
            answer = self._answers[event.stream_id]
            answer.status = said.get(":status", answer.status)
            answer.grpc_status = said.get("grpc-status", answer.grpc_status)
            answer.message = said.get("grpc-message", answer.message)
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            if event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
                raise ClosedError  # never looked at: a connection that drains
            self._answers[event.stream_id].reset = True
            open_streams.discard(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            open_streams.discard(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated) and any(
            stream > (event.last_stream_id or 0) for stream in open_streams
        ):
            raise ClosedError
