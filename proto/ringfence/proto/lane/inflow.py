"""Cuts what arrives into frames, however it was split on the way, and judges their size (RFC 9113 section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from ringfence.proto.lane.faults import ErrorCode, ProtocolError
from ringfence.proto.lane.framing import FRAME_HEAD, PADDED

_HEAD = Struct(">HBBBI").unpack_from  # the length in two parts, kind, flags, stream
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Inflow:
    """The frames of one connection's bytes."""

    __slots__ = ("_held", "_max_frame", "_need", "_preface")

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._held = bytearray()
        self._need = 0  # bytes held before it is worth looking again
        self._preface = PREFACE  # what is still to come of it

    def cut(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of each whole frame; raises ProtocolError before a bad one is here."""
        data = self._join(data)
        at, size = self._greeting(data) if self._preface else 0, len(data)
        self._need = FRAME_HEAD
        while size - at >= FRAME_HEAD:
            high, low, kind, flags, stream = _HEAD(data, at)
            length = high << 8 | low
            if length > self._max_frame:
                raise ProtocolError(f"a frame of {length} bytes", ErrorCode.FRAME_SIZE_ERROR)
            end = at + FRAME_HEAD + length
            if end > size:
                self._need = FRAME_HEAD + length
                break
            yield kind, flags, stream & 0x7FFFFFFF, data[at + FRAME_HEAD : end]
            at = end
        if at < size:
            self._held += data[at:]

    def _greeting(self, data: bytes) -> int:
        """How much of *data* is the client's preface (section 3.4)."""
        size = min(len(self._preface), len(data))
        if data[:size] != self._preface[:size]:
            raise ProtocolError("this is no HTTP/2 with prior knowledge")
        self._preface = self._preface[size:]
        return size

    def _join(self, data: bytes) -> bytes:
        if not self._held:
            return data
        self._held += data
        if len(self._held) < self._need:
            return b""
        whole = bytes(self._held)
        self._held.clear()
        return whole


def unpadded(flags: int, payload: bytes) -> bytes:
    """*payload* of a frame that may be padded, without its padding; raises ProtocolError (section 6.1)."""
    if not flags & PADDED:
        return payload
    padding = payload[0] + 1 if payload else 1
    if padding > len(payload):
        raise ProtocolError("more padding than the frame is long")
    return payload[1 : len(payload) - padding + 1]
