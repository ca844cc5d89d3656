"""From a request's headers to a call, or to the refusal that the client gets instead: every way in is here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from ringfence.proto.lane.call import Call
from ringfence.proto.lane.headers import RESPONSE, timeout_seconds, trailers_of
from ringfence.proto.lane.service import Method
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.proto.lane.connection import Connection


def open_call(connection: Connection, stream_id: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Start the call that *headers* ask for on *stream_id*, or answer why not."""
    service = connection.service
    # 1. No more calls than the peer may have, counting those whose handler is still cleaning up.
    if len(connection.tasks) >= service.limits.streams or stream_id > connection.last_stream:
        connection.wire.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        return
    said = dict(headers)
    # 2. It is a gRPC request at all (gRPC PROTOCOL-HTTP2.md, Requests).
    refusal = _http_refusal(said)
    if refusal is not None:
        _answer(connection, stream_id, refusal)
        return
    try:
        served = _method(connection, said[b":path"].decode("latin-1"))
        timeout = timeout_seconds(said[b"grpc-timeout"]) if b"grpc-timeout" in said else None
    except Status as status:
        _answer(connection, stream_id, RESPONSE + trailers_of(status, {}))
        return
    # 5. Only now does anything run for it.
    connection.start(Call(connection, stream_id, said[b":path"].decode("latin-1"), served, headers), timeout, stream_id)


def _method(connection: Connection, path: str) -> Method:
    # 3. We serve the method.
    served = connection.service.methods.get(path)
    if served is None:
        raise Status(Code.UNIMPLEMENTED, f"this server has no method {path}")
    # 4. The caller proved who it is, where the method asks for it.
    if served.peer_certificate and connection.peer.certificate is None:
        raise Status(Code.UNAUTHENTICATED, f"{path} needs a client certificate")
    return served


def _http_refusal(said: dict[bytes, bytes]) -> list[tuple[bytes, bytes]] | None:
    if said.get(b":method") != b"POST":
        return [(b":status", b"405"), (b"allow", b"POST")]
    content_type = said.get(b"content-type", b"")
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        return [(b":status", b"415")]
    if said.get(b"te") != b"trailers":
        # Something between that does not pass trailers would hide how every call ends.
        return [(b":status", b"400"), *trailers_of(Status(Code.INTERNAL, "the te: trailers header is missing"), {})]
    return None


def _answer(connection: Connection, stream_id: int, headers: list[tuple[bytes, bytes]]) -> None:
    connection.wire.headers(stream_id, headers, end=True)
    connection.wire.reset(stream_id, ErrorCodes.NO_ERROR)
