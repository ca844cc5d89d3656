"""From a request to a call, or to the refusal that the client gets instead: every way in is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringfence.proto.lane.call import Call
from ringfence.proto.lane.faults import ErrorCode
from ringfence.proto.lane.headers import RESPONSE, HeaderList, trailers_of
from ringfence.proto.lane.request import Request
from ringfence.proto.lane.service import Method
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.proto.lane.connection import Connection


def open_call(connection: Connection, stream_id: int, request: Request) -> None:
    """Start the call that *request* asks for on *stream_id*, or answer why not."""
    # 1. No more calls than the peer may have, counting those whose handler is still cleaning up.
    if len(connection.tasks) >= connection.service.limits.streams or stream_id > connection.last_stream:
        connection.wire.reset(stream_id, ErrorCode.REFUSED_STREAM)
        return
    # 2. It is a gRPC request at all (gRPC PROTOCOL-HTTP2.md, Requests).
    if request.refusal is not None:
        _answer(connection, stream_id, request.refusal)
        return
    try:
        served = _method(connection, request)
    except Status as status:
        _answer(connection, stream_id, RESPONSE + trailers_of(status, {}))
        return
    # 6. Only now does anything run for it.
    connection.start(Call(connection, stream_id, request, served), request.timeout, stream_id)


def _method(connection: Connection, request: Request) -> Method:
    # 3. We serve the method.
    served = connection.service.methods.get(request.path)
    if served is None:
        raise Status(Code.UNIMPLEMENTED, f"this server has no method {request.path}")
    # 4. The caller proved who it is, where the method asks for it.
    if served.peer_certificate and connection.peer.certificate is None:
        raise Status(Code.UNAUTHENTICATED, f"{request.path} needs a client certificate")
    # 5. It says clearly how long it waits.
    if request.timeout_fault is not None:
        raise request.timeout_fault
    return served


def _answer(connection: Connection, stream_id: int, headers: HeaderList) -> None:
    connection.wire.headers(stream_id, headers, end=True)
    connection.wire.reset(stream_id, ErrorCode.NO_ERROR)
