"""Cuts what arrives into frames: DATA for the calls, which is most of it, and everything else for h2.

h2 makes three objects and a textual form of every frame it reads. The frames below are looked at only as far as RFC
9113 section 4.1 goes, and what is not plainly DATA outside of a header block is left to h2 to judge.
"""

from __future__ import annotations

from collections.abc import Iterator

from h2.exceptions import FrameTooLargeError, ProtocolError

from ringfence.proto.lane.framing import DATA, END_HEADERS, FRAME_HEAD, HEADERS

_CONTINUATION = 0x9
_PADDED = 0x8
_PREFACE = 24  # bytes, RFC 9113 section 3.4
OTHER = -1


class Inflow:
    """The frames of one connection's bytes, however they were split on the way."""

    __slots__ = ("_held", "_in_block", "_max_frame", "_need", "_preface_left")

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._held = bytearray()
        self._need = 0  # bytes held before it is worth looking again
        self._preface_left = _PREFACE
        self._in_block = False

    def cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Pairs of a stream id and one DATA frame of it, or of OTHER and bytes for h2; raises FrameTooLargeError."""
        data = self._join(data)
        if not data:
            return
        start = at = min(self._preface_left, len(data))
        self._preface_left -= at
        if at:
            yield OTHER, data[:at]
        size = len(data)
        self._need = FRAME_HEAD
        while size - at >= FRAME_HEAD:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > self._max_frame:
                raise FrameTooLargeError(f"a frame of {length} bytes")
            end = at + FRAME_HEAD + length
            if end > size:
                self._need = FRAME_HEAD + length
                break
            if data[at + 3] == DATA and not self._in_block:
                if start < at:
                    yield OTHER, data[start:at]
                stream_id = int.from_bytes(data[at + 5 : at + FRAME_HEAD], "big") & 0x7FFFFFFF
                yield stream_id, data[at:end] if length + FRAME_HEAD < size else data
                start = end
            else:
                self._follow(data[at + 3], data[at + 4])
            at = end
        if start < at:
            yield OTHER, data[start:at]
        if at < size:
            self._held += data[at:]

    def _join(self, data: bytes) -> bytes:
        if not self._held:
            return data
        self._held += data
        if len(self._held) < self._need:
            return b""
        whole = bytes(self._held)
        self._held.clear()
        return whole

    def _follow(self, kind: int, flags: int) -> None:
        # Nothing may come between the parts of a header block (section 6.10): h2 sees all of it then, and objects.
        if kind in {HEADERS, _CONTINUATION}:
            self._in_block = not flags & END_HEADERS


def payload_of(frame: bytes) -> bytes:
    """What a DATA frame carries, without padding; raises ProtocolError (RFC 9113 section 6.1)."""
    if not frame[4] & _PADDED:
        return frame[FRAME_HEAD:]
    padding = frame[FRAME_HEAD] + 1 if len(frame) > FRAME_HEAD else len(frame)
    if padding > len(frame) - FRAME_HEAD:
        raise ProtocolError("more padding than the frame is long")
    return frame[FRAME_HEAD + 1 : len(frame) - padding + 1]
