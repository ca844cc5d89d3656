"""The streams of one connection and the room that the peer gives us on each (RFC 9113 sections 5.1 and 5.2)."""

from __future__ import annotations

from ringfence.proto.lane.faults import ErrorCode, ProtocolError, StreamError
from ringfence.proto.lane.limits import DEFAULT_FRAME, DEFAULT_WINDOW

MAX_WINDOW = 2**31 - 1
# Ended streams that are remembered, to tell a late frame from a wrong one.
_REMEMBERED = 1_024


class Stream:
    """An open stream, or one that one side has ended."""

    __slots__ = ("expected", "heard_all", "room")

    def __init__(self, room: int) -> None:
        self.room = room  # bytes that the peer lets us send; a smaller initial window can make it negative
        self.heard_all = False  # the peer sends no more
        self.expected: int | None = None  # bytes of content still to come, where the request says its length

    def take(self, size: int, *, last: bool) -> None:
        """Note content; raises StreamError where it is not as long as the request says (section 8.1.1)."""
        self.heard_all = last
        if self.expected is None:
            return
        self.expected -= size
        if self.expected < 0 or (last and self.expected):
            raise StreamError("content of another length than it says")


class Streams:
    """Open streams by id, and the windows and frame size that the peer has set."""

    __slots__ = ("_ended", "highest", "initial_room", "max_frame", "open", "room")

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.room = DEFAULT_WINDOW  # of the whole connection
        self.initial_room = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.highest = 0  # the last that the peer opened
        self._ended: dict[int, bool] = {}  # whether the peer may not know yet

    def begin(self, stream_id: int) -> Stream:
        """Open a stream of the peer's; raises ProtocolError for an id that is not its to open (section 5.1.1)."""
        if not stream_id % 2 or stream_id <= self.highest:
            raise ProtocolError(f"stream {stream_id} is not to be opened now")
        self.highest = stream_id
        stream = self.open[stream_id] = Stream(self.initial_room)
        return stream

    def end(self, stream_id: int, *, unknown_to_peer: bool = False) -> None:
        """Forget all of an open stream but that it was there."""
        if self.open.pop(stream_id, None) is None:
            return
        self._ended[stream_id] = unknown_to_peer
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def check_known(self, stream_id: int) -> None:
        """Raise ProtocolError for a stream that the peer never opened (section 5.1, idle)."""
        if not stream_id % 2 or stream_id > self.highest:
            raise ProtocolError(f"stream {stream_id} is not open")

    def is_forgiven(self, stream_id: int) -> bool:
        """Whether headers on this ended stream crossed our end of it; raises ProtocolError for any other's."""
        unknown = self._ended.get(stream_id)
        if unknown is False:
            raise ProtocolError(f"stream {stream_id} has ended", ErrorCode.STREAM_CLOSED)
        return bool(unknown)

    def widen(self, stream_id: int, size: int) -> None:
        """The peer takes *size* bytes more; raises ProtocolError or StreamError (section 6.9)."""
        if stream_id == 0:
            self.room += size
            if not size or self.room > MAX_WINDOW:
                raise ProtocolError("a window update out of range", _window_code(size))
            return
        stream = self.open.get(stream_id)
        if stream is None:
            self.check_known(stream_id)
            return
        stream.room += size
        if not size or stream.room > MAX_WINDOW:
            raise StreamError("a window update out of range", _window_code(size))

    def reset_initial(self, size: int) -> None:
        """A new initial window moves every stream's (section 6.9.2); raises ProtocolError past the largest."""
        if size > MAX_WINDOW:
            raise ProtocolError("an initial window out of range", ErrorCode.FLOW_CONTROL_ERROR)
        change, self.initial_room = size - self.initial_room, size
        for stream in self.open.values():
            stream.room += change
            if stream.room > MAX_WINDOW:
                raise ProtocolError("an initial window out of range", ErrorCode.FLOW_CONTROL_ERROR)


def _window_code(size: int) -> ErrorCode:
    return ErrorCode.FLOW_CONTROL_ERROR if size else ErrorCode.PROTOCOL_ERROR
