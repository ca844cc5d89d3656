"""What the peer says besides DATA: each frame judged by RFC 9113 section 6 and told to the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ringfence.proto.lane.faults import ErrorCode, ProtocolError, StreamError
from ringfence.proto.lane.fields import Block, Fields
from ringfence.proto.lane.framing import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from ringfence.proto.lane.inflow import unpadded
from ringfence.proto.lane.limits import DEFAULT_FRAME, Limits
from ringfence.proto.lane.request import Request, check_trailers
from ringfence.proto.lane.wire import Wire

_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 4, 5
_DEFAULT_TABLE = 4_096
_LARGEST_FRAME = 2**24 - 1
_SETTING = 6  # bytes of one
_MOST_SETTINGS = 32  # of one frame; there are ten that mean anything
_MOST_PARTS = 64  # frames of one header block (CVE-2024-27316)
_PRIORITY_SIZE = 5


class Told(Protocol):
    """Who learns what the peer says."""

    def on_request(self, stream_id: int, request: Request) -> None:
        """It opened a stream."""

    def on_end(self, stream_id: int) -> None:
        """It sends no more on an open stream."""

    def on_reset(self, stream_id: int) -> None:
        """It ended a stream, which may have ended before."""

    def on_room(self, stream_id: int) -> None:
        """It takes more than it did on a stream, or with 0 on all of them together."""

    def on_settings(self) -> None:
        """Its settings are in force."""

    def on_pong(self) -> None:
        """It answered a ping."""


class Reader:
    """Reads one connection's frames; DATA is not for it, unless it comes where no DATA may."""

    __slots__ = ("_block", "_fields", "_greeted", "_limits", "_told", "_wire")

    def __init__(self, wire: Wire, told: Told, limits: Limits) -> None:
        self._wire = wire
        self._told = told
        self._limits = limits
        self._fields = Fields(limits.headers)
        self._greeted = False
        self._block: tuple[int, int, list[bytes]] | None = None  # stream, flags and parts of one that is not whole

    def leave(self) -> None:
        """Tell nobody any more: whoever is told refers to us, a ring that only the garbage collector would find."""
        del self._told

    @property
    def in_block(self) -> bool:
        """Whether only CONTINUATION may come now (section 6.10)."""
        return self._block is not None

    def read(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take one frame; raises ProtocolError and StreamError. A kind that is not known means nothing (5.5)."""
        # 1. A header block is not interrupted (section 6.10).
        if self._block is not None and kind != CONTINUATION:
            raise ProtocolError("a frame within a header block")
        # 2. The first frame is the peer's settings (section 3.4).
        if not self._greeted:
            if kind != SETTINGS or flags & ACK:
                raise ProtocolError("the first frame is not SETTINGS")
            self._greeted = True
        read = _READ.get(kind)
        if read is not None:
            read(self, flags, stream_id, payload)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        part = unpadded(flags, payload)
        if flags & HAS_PRIORITY:
            if len(part) < _PRIORITY_SIZE:
                raise ProtocolError("HEADERS too short for its priority", ErrorCode.FRAME_SIZE_ERROR)
            part = part[_PRIORITY_SIZE:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, part)
        else:
            self._block = (stream_id, flags, [part])

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or stream_id != self._block[0]:
            raise ProtocolError("CONTINUATION of no header block")
        _, first, parts = self._block
        parts.append(payload)
        if len(parts) > _MOST_PARTS or sum(map(len, parts)) > self._limits.headers:
            raise ProtocolError("a header block without end", ErrorCode.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first, stream_id, b"".join(parts))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        # Decoded whatever it is for: the peer's later blocks refer to it.
        met = self._fields.decode(block)
        streams = self._wire.streams
        stream = streams.open.get(stream_id)
        if stream is not None:
            self._on_trailers(flags, stream_id, met)
        elif stream_id > streams.highest:
            request = met.request
            opened = streams.begin(stream_id)
            opened.expected = request.length
            opened.take(0, last=bool(flags & END_STREAM))
            self._told.on_request(stream_id, request)
            if flags & END_STREAM:
                self._told.on_end(stream_id)
        elif not streams.is_forgiven(stream_id):
            raise ProtocolError(f"stream {stream_id} is not to be opened now")

    def _on_trailers(self, flags: int, stream_id: int, met: Block) -> None:
        stream = self._wire.streams.open[stream_id]
        if stream.heard_all:
            raise StreamError("headers after the end", ErrorCode.STREAM_CLOSED)
        if not flags & END_STREAM:
            raise ProtocolError("headers in the middle of a request")
        check_trailers(met.fields)
        stream.take(0, last=True)
        self._told.on_end(stream_id)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ProtocolError("PRIORITY of no stream")
        if len(payload) != _PRIORITY_SIZE:
            raise ProtocolError("PRIORITY of a wrong size", ErrorCode.FRAME_SIZE_ERROR)

    def _on_reset(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(payload, 4, "RST_STREAM")
        self._wire.streams.check_known(stream_id)
        self._wire.streams.end(stream_id)
        self._told.on_reset(stream_id)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id, "SETTINGS")
        if len(payload) % _SETTING or (flags & ACK and payload):
            raise ProtocolError("SETTINGS of a wrong size", ErrorCode.FRAME_SIZE_ERROR)
        if flags & ACK:
            return
        if len(payload) > _MOST_SETTINGS * _SETTING:
            raise ProtocolError("too many settings", ErrorCode.ENHANCE_YOUR_CALM)
        smaller_table = False
        for at in range(0, len(payload), _SETTING):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            self._set(name, value)
            smaller_table = smaller_table or (name == _TABLE_SIZE and value < _DEFAULT_TABLE)
        self._wire.acknowledge(smaller_table=smaller_table)
        self._told.on_settings()

    def _set(self, name: int, value: int) -> None:
        if name == _INITIAL_WINDOW:
            self._wire.streams.reset_initial(value)
        elif name == _MAX_FRAME:
            if not DEFAULT_FRAME <= value <= _LARGEST_FRAME:
                raise ProtocolError("a frame size out of range")
            self._wire.streams.max_frame = value
        elif name == _ENABLE_PUSH and value > 1:
            raise ProtocolError("a wrong setting")

    def _on_push(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ProtocolError("a client does not push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id, "PING")
        _check_size(payload, 8, "PING")
        if flags & ACK:
            self._told.on_pong()
        else:
            self._wire.pong(payload)

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        # A client that goes opens no more calls, and those that are open go on (section 6.8).
        _check_connection(stream_id, "GOAWAY")
        if len(payload) < 8:  # noqa: PLR2004 - a stream id and a code
            raise ProtocolError("GOAWAY of a wrong size", ErrorCode.FRAME_SIZE_ERROR)

    def _on_window(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(payload, 4, "WINDOW_UPDATE")
        self._wire.streams.widen(stream_id, int.from_bytes(payload, "big") & 0x7FFFFFFF)
        self._told.on_room(stream_id)


def _check_connection(stream_id: int, what: str) -> None:
    if stream_id:
        raise ProtocolError(f"{what} on a stream")


def _check_size(payload: bytes, size: int, what: str) -> None:
    if len(payload) != size:
        raise ProtocolError(f"{what} of a wrong size", ErrorCode.FRAME_SIZE_ERROR)


_READ: dict[int, Callable[[Reader, int, int, bytes], None]] = {
    HEADERS: Reader._on_headers,  # noqa: SLF001 - the table is part of the class
    PRIORITY: Reader._on_priority,  # noqa: SLF001
    RST_STREAM: Reader._on_reset,  # noqa: SLF001
    SETTINGS: Reader._on_settings,  # noqa: SLF001
    PUSH_PROMISE: Reader._on_push,  # noqa: SLF001
    PING: Reader._on_ping,  # noqa: SLF001
    GOAWAY: Reader._on_goaway,  # noqa: SLF001
    WINDOW_UPDATE: Reader._on_window,  # noqa: SLF001
    CONTINUATION: Reader._on_continuation,  # noqa: SLF001
}
