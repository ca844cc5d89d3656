"""gRPC's message framing: a message framed once for every stream, and the other way for what arrives in pieces.

Length-Prefixed-Message is a flag byte, four bytes of length and the message (gRPC `PROTOCOL-HTTP2.md`).
"""

from __future__ import annotations

from ringfence.proto.status import Code, Status

PREFIX = 5
FRAME_HEAD = 9  # bytes before a frame's payload
# Kinds of frames and their flags, RFC 9113 section 6.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE = 0x0, 0x1, 0x2, 0x3, 0x4, 0x5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x6, 0x7, 0x8, 0x9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20


_KEPT_CUTS = 4  # of a message: a client that follows several things has its streams on one connection


class Framed:
    """A message with its prefix. Equal streams of many connections share the DATA frames too, not only the message."""

    __slots__ = ("_cuts", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._cuts: dict[tuple[int, int], bytes] = {}

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Framed({len(self.data)} bytes)"

    def wire(self, stream_id: int, max_frame: int) -> bytes:
        """All of it as DATA frames of stream *stream_id*; the last few cuts are kept, for there are mostly no more."""
        found = self._cuts.get((stream_id, max_frame))
        if found is None:
            found = self._cuts[stream_id, max_frame] = data_frames(stream_id, self.data, max_frame)
            if len(self._cuts) > _KEPT_CUTS:
                del self._cuts[next(iter(self._cuts))]
        return found


def frame(message: bytes) -> Framed:
    """*message* framed, uncompressed."""
    return Framed(b"\0" + len(message).to_bytes(4, "big") + message)


def frame_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The FRAME_HEAD bytes before a frame's payload (RFC 9113 section 4.1)."""
    return (length << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(9, "big")


def data_frames(stream_id: int, data: bytes | memoryview, max_frame: int) -> bytes:
    """*data* as DATA frames of at most *max_frame* bytes each."""
    size = len(data)
    if size <= max_frame:
        return frame_header(size, DATA, 0, stream_id) + data
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    for start in range(0, size, max_frame):
        piece = view[start : start + max_frame]
        parts += frame_header(len(piece), DATA, 0, stream_id), piece
    return b"".join(parts)


def header_frames(stream_id: int, block: bytes, max_frame: int, flags: int) -> bytes:
    """*block* as a HEADERS frame with *flags*, and what does not fit it as CONTINUATION."""
    if len(block) <= max_frame:
        return frame_header(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [frame_header(max_frame, HEADERS, flags, stream_id), block[:max_frame]]
    for start in range(max_frame, len(block), max_frame):
        piece = block[start : start + max_frame]
        last = END_HEADERS if start + max_frame >= len(block) else 0
        parts += frame_header(len(piece), CONTINUATION, last, stream_id), piece
    return b"".join(parts)


class Deframer:
    """Cuts the bytes of one stream back into messages, and refuses before it buffers what is too large."""

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._held = bytearray()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that *data* completes; raises Status RESOURCE_EXHAUSTED or UNIMPLEMENTED."""
        if not self._held and len(data) >= PREFIX and self._length(data) == len(data) - PREFIX:
            return [data[PREFIX:]]
        self._held += data
        messages = []
        start = 0
        while len(self._held) - start >= PREFIX:
            end = start + PREFIX + self._length(self._held[start : start + PREFIX])
            if end > len(self._held):
                break
            messages.append(bytes(self._held[start + PREFIX : end]))
            start = end
        del self._held[:start]
        return messages

    def _length(self, prefix: bytes | bytearray) -> int:
        if prefix[0]:
            raise Status(
                Code.UNIMPLEMENTED,
                "the message is compressed, and this server takes identity only",
                {"grpc-accept-encoding": "identity"},
            )
        length = int.from_bytes(prefix[1:PREFIX], "big")
        if length > self._limit:
            raise Status(Code.RESOURCE_EXHAUSTED, f"the message has {length} bytes, the limit is {self._limit}")
        return length
