"""One connection's HTTP/2: the h2 package reads and keeps the state; what is sent often is written here, encoded once.

h2 builds a frame object for every DATA frame and encodes every header anew. A server of equal bytes to many streams
need not: the frames below go out as they are, and h2 is told of the state they change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamInputs
from hyperframe.frame import GoAwayFrame, SettingsFrame, WindowUpdateFrame

from ringfence.proto.lane import huffman
from ringfence.proto.lane.framing import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    WINDOW_UPDATE,
    Framed,
    data_frames,
    frame_header,
)
from ringfence.proto.lane.headers import HeaderList
from ringfence.proto.lane.limits import DEFAULT_FRAME, DEFAULT_WINDOW, Limits

huffman.install()
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_LAST_STREAM = 2**31 - 1


class _States(H2ConnectionStateMachine):
    # A client's GOAWAY opens no more calls, and those that are open go on (RFC 9113 section 6.8); h2 would end them.
    _transitions = H2ConnectionStateMachine._transitions | {  # noqa: SLF001 - the table is all there is
        (ConnectionState.SERVER_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.SERVER_OPEN),
    }


class _H2(H2Connection):
    # It remembers how streams ended, to tell a late frame from a wrong one: 65,536 of them would be megabytes.
    MAX_CLOSED_STREAMS = 4_096

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _States()

    def clear_outbound_data_buffer(self) -> None:
        """Keep it: h2 would drop, at the client's GOAWAY, the answers to frames before it."""


class Wire:
    """The state of one connection and the bytes it has to say, in order; `size` counts what was sent and not taken."""

    __slots__ = ("_limits", "_out", "_owed", "h2", "size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._owed = 0
        self.h2 = _H2(_CONFIG)
        self.h2.local_settings = _settings(limits.headers)
        self.h2.decoder.max_header_list_size = limits.headers
        self._out: list[bytes] = [_hello(limits)]
        self.size = 0

    def receive(self, data: bytes) -> list[Any]:
        """The events in *data*; raises h2 ProtocolError, with the GOAWAY that says so already in the output."""
        try:
            events: list[Any] = self.h2.receive_data(data)
        finally:
            self._pull()
        return events

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
        stream = self.h2.streams.get(stream_id)
        if stream is None:
            return 0
        room: int = min(self.h2.outbound_flow_control_window, stream.outbound_flow_control_window)
        return max(room, 0)

    def framed(self, stream_id: int, message: Framed) -> None:
        """Send all of *message*; the caller has checked the room."""
        self._out.append(message.wire(stream_id, self.h2.max_outbound_frame_size))
        self._spend(stream_id, len(message.data))

    def piece(self, stream_id: int, data: memoryview) -> None:
        """Send a part of a message; the caller has checked the room."""
        self._out.append(data_frames(stream_id, data, self.h2.max_outbound_frame_size))
        self._spend(stream_id, len(data))

    def _spend(self, stream_id: int, size: int) -> None:
        self.size += size
        self.h2.outbound_flow_control_window -= size
        self.h2.streams[stream_id].outbound_flow_control_window -= size

    def block(self, stream_id: int, block: bytes, headers: HeaderList, *, end: bool) -> None:
        """Send *headers*, of which *block* is the encoding; unless the encoder owes the peer a table size first."""
        stream = self.h2.streams.get(stream_id)
        if self.h2.encoder.table_size_changes or stream is None or stream.closed:
            self.headers(stream_id, headers, end=end)
            return
        state = stream.state_machine
        state.process_input(StreamInputs.SEND_HEADERS)
        flags = END_HEADERS
        if end:
            state.process_input(StreamInputs.SEND_END_STREAM)
            flags |= END_STREAM
        self._out.append(frame_header(len(block), HEADERS, flags, stream_id) + block)

    def headers(self, stream_id: int, headers: HeaderList, *, end: bool) -> None:
        """Send *headers*, encoded now; nothing if the peer has reset the stream within the same read."""
        stream = self.h2.streams.get(stream_id)
        if stream is None or stream.closed:
            return
        self.h2.send_headers(stream_id, headers, end_stream=end)
        self._pull()

    def reset(self, stream_id: int, error: ErrorCodes) -> None:
        """End the stream at once, both ways; nothing if it has ended."""
        stream = self.h2.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self.h2.reset_stream(stream_id, error)
            self._pull()

    def received(self, size: int) -> None:
        """Note *size* bytes of DATA, padding included, which h2 does not see.

        The peer gets its credit back here, read or not, so the connection's window never stops it: what a call leaves
        unread is bounded by the window of its stream, and the sum by `Limits.buffered`.
        """
        self._owed += size
        if self._owed >= self._limits.connection_window // 4:
            self.credit(0, self._owed)
            self._owed = 0

    def ended(self, stream_id: int) -> None:
        """Note that the peer's side of an open stream ended with DATA."""
        self.h2.streams[stream_id].state_machine.process_input(StreamInputs.RECV_END_STREAM)

    def late(self, stream_id: int) -> None:
        """Judge DATA of a stream without a call: one that has ended may still get some (RFC 9113 section 5.1).

        Raises ProtocolError for a stream that the peer never opened.
        """
        if not stream_id % 2 or stream_id > self.h2.highest_inbound_stream_id:
            raise ProtocolError(f"data on stream {stream_id}, which is not open")

    def credit(self, stream_id: int, size: int) -> None:
        """Let the peer send *size* bytes more on the stream, or on the connection with 0."""
        self._out.append(frame_header(4, WINDOW_UPDATE, 0, stream_id) + size.to_bytes(4, "big"))

    def fail(self, error: ProtocolError) -> None:
        """Tell the peer what it did wrong, unless h2 has."""
        if self.h2.state_machine.state is not ConnectionState.CLOSED:
            self.goaway(error.error_code, reason=str(error).encode()[:128])

    def ping(self, payload: bytes) -> None:
        """Ask for an answer that echoes the eight bytes of *payload*."""
        self.h2.ping(payload)
        self._pull()

    def goaway(self, error: ErrorCodes = ErrorCodes.NO_ERROR, *, last: int | None = None, reason: bytes = b"") -> None:
        """Say that no stream above *last* (default: the last seen) is served. h2 is not told: it would end them all."""
        last = self.h2.highest_inbound_stream_id if last is None else last
        self._out.append(GoAwayFrame(0, last, error, additional_data=reason).serialize())

    def _pull(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self._out.append(data)


@lru_cache(maxsize=64)
def _settings(max_headers: int) -> Settings:
    """What h2 holds the peer to; shared, for we never change it.

    More streams than we take are refused one by one: the client may not have our settings yet, and h2 would end the
    whole connection. The windows are kept here, since h2 sees no DATA.
    """
    values = {SettingCodes.MAX_CONCURRENT_STREAMS: _LAST_STREAM, SettingCodes.MAX_HEADER_LIST_SIZE: max_headers}
    return Settings(client=False, initial_values=values)


@lru_cache(maxsize=64)
def _hello(limits: Limits) -> bytes:
    """The server's connection preface: our settings, and a connection window that holds more than one first message."""
    settings = SettingsFrame(0)
    settings.settings = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window,
        SettingCodes.MAX_FRAME_SIZE: DEFAULT_FRAME,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.headers,
    }
    window = WindowUpdateFrame(0, window_increment=limits.connection_window - DEFAULT_WINDOW)
    return bytes(settings.serialize() + window.serialize())
