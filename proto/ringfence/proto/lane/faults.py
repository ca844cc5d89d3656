"""What a peer can do wrong in HTTP/2, and the code that it is told (RFC 9113 section 7)."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The codes of RFC 9113 section 7 that we say."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ProtocolError(Exception):
    """A connection error (section 5.4.1): nothing that the peer says afterwards can be relied upon."""

    def __init__(self, text: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


class StreamError(Exception):
    """A stream error (section 5.4.2): one stream ends, the connection goes on."""

    def __init__(self, text: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code
