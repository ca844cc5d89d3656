"""What one connection has to say: frames as bytes, in order, the ones that are sent often encoded once."""

from __future__ import annotations

from functools import lru_cache

from ringfence.proto.lane.faults import ErrorCode, StreamError
from ringfence.proto.lane.framing import (
    ACK,
    END_STREAM,
    GOAWAY,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Framed,
    data_frames,
    frame_header,
    header_frames,
)
from ringfence.proto.lane.headers import HeaderList, literals
from ringfence.proto.lane.inflow import unpadded
from ringfence.proto.lane.limits import DEFAULT_FRAME, DEFAULT_WINDOW, Limits
from ringfence.proto.lane.streams import Streams

_SETTINGS_ACK = frame_header(0, SETTINGS, ACK, 0)
_NO_TABLE = b"\x20"  # RFC 7541 section 6.3: our encoder's dynamic table has room for nothing, which is what it uses


class Wire:
    """The bytes to be written and the windows they spend; `size` counts what was sent and not taken."""

    __slots__ = ("_limits", "_out", "_owed", "_owes_table_size", "size", "streams")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._owed = 0
        self._owes_table_size = False
        self.streams = Streams()
        self._out: list[bytes] = [_hello(limits)]
        self.size = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to write."""
        return bool(self._out)

    def take(self) -> bytes:
        """What is to be written now; empty when there is nothing."""
        out = self._out
        if not out:
            return b""
        self._out = []
        self.size = 0
        return out[0] if len(out) == 1 else b"".join(out)

    def room(self, stream_id: int) -> int:
        """How many bytes the peer's windows let us send on the stream now; 0 when it has ended."""
        stream = self.streams.open.get(stream_id)
        return 0 if stream is None else max(min(self.streams.room, stream.room), 0)

    def framed(self, stream_id: int, message: Framed) -> None:
        """Send all of *message*; the caller has checked the room."""
        self._out.append(message.wire(stream_id, self.streams.max_frame))
        self._spend(stream_id, len(message.data))

    def piece(self, stream_id: int, data: memoryview) -> None:
        """Send a part of a message; the caller has checked the room."""
        self._out.append(data_frames(stream_id, data, self.streams.max_frame))
        self._spend(stream_id, len(data))

    def _spend(self, stream_id: int, size: int) -> None:
        self.size += size
        self.streams.room -= size
        self.streams.open[stream_id].room -= size

    def headers(self, stream_id: int, headers: HeaderList, *, end: bool) -> None:
        """Send *headers*, encoded now; nothing if the peer has reset the stream within the same read."""
        self.block(stream_id, literals(headers), end=end)

    def block(self, stream_id: int, block: bytes, *, end: bool) -> None:
        """Send the header block *block*, which touches no dynamic table; nothing if the stream has ended."""
        stream = self.streams.open.get(stream_id)
        if stream is None:
            return
        if self._owes_table_size:
            self._owes_table_size = False
            block = _NO_TABLE + block
        self._out.append(header_frames(stream_id, block, self.streams.max_frame, END_STREAM if end else 0))
        if end and stream.heard_all:
            self.streams.end(stream_id)

    def reset(self, stream_id: int, error: ErrorCode) -> None:
        """End the stream at once, both ways; nothing if it has ended."""
        if stream_id in self.streams.open:
            self._out.append(frame_header(4, RST_STREAM, 0, stream_id) + error.to_bytes(4, "big"))
            self.streams.end(stream_id, unknown_to_peer=True)

    def content(self, flags: int, stream_id: int, payload: bytes) -> bytes | None:
        """What a DATA frame carries; None on a stream that we have ended. Raises ProtocolError and StreamError."""
        self.received(len(payload))
        stream = self.streams.open.get(stream_id)
        if stream is None:
            # One that we have ended may still get some (RFC 9113 section 5.1); one that the peer ended may not.
            self.streams.check_known(stream_id)
            self.streams.is_forgiven(stream_id)
            return None
        if stream.heard_all:
            raise StreamError("data after the end", ErrorCode.STREAM_CLOSED)
        content = unpadded(flags, payload)
        stream.take(len(content), last=bool(flags & END_STREAM))
        return content

    def received(self, size: int) -> None:
        """Note *size* bytes of DATA, padding included.

        The peer gets its credit back here, read or not, so the connection's window never stops it: what a call leaves
        unread is bounded by the window of its stream, and the sum by `Limits.buffered`.
        """
        self._owed += size
        if self._owed >= self._limits.connection_window // 4:
            self.credit(0, self._owed)
            self._owed = 0

    def credit(self, stream_id: int, size: int) -> None:
        """Let the peer send *size* bytes more on the stream, or on the connection with 0."""
        self._out.append(frame_header(4, WINDOW_UPDATE, 0, stream_id) + size.to_bytes(4, "big"))

    def acknowledge(self, *, smaller_table: bool) -> None:
        """Take the peer's settings; a table smaller than ours is answered in our next block (RFC 7541 section 4.2)."""
        self._out.append(_SETTINGS_ACK)
        self._owes_table_size = self._owes_table_size or smaller_table

    def ping(self, payload: bytes) -> None:
        """Ask for an answer that echoes the eight bytes of *payload*."""
        self._out.append(frame_header(8, PING, 0, 0) + payload)

    def pong(self, payload: bytes) -> None:
        """Answer a PING."""
        self._out.append(frame_header(8, PING, ACK, 0) + payload)

    def goaway(self, error: ErrorCode = ErrorCode.NO_ERROR, *, last: int | None = None, reason: bytes = b"") -> None:
        """Say that no stream above *last* (default: the last seen) is served."""
        last = self.streams.highest if last is None else last
        text = reason[:128]
        payload = last.to_bytes(4, "big") + error.to_bytes(4, "big") + text
        self._out.append(frame_header(len(payload), GOAWAY, 0, 0) + payload)


@lru_cache(maxsize=64)
def _hello(limits: Limits) -> bytes:
    """The server's connection preface: our settings, and a connection window that holds more than one first message."""
    values = {3: limits.streams, 4: limits.stream_window, 5: DEFAULT_FRAME, 6: limits.headers}
    settings = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
    window = (limits.connection_window - DEFAULT_WINDOW).to_bytes(4, "big")
    return frame_header(len(settings), SETTINGS, 0, 0) + settings + frame_header(4, WINDOW_UPDATE, 0, 0) + window
