"""What gRPC says in HTTP/2 headers: timeouts, status messages, metadata, and header blocks that are encoded once."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote_from_bytes

from ringfence.proto.status import Code, Status

HeaderList = list[tuple[bytes, bytes]]

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Longer than this is no deadline: no timer is worth keeping for it.
_LONGEST_TIMEOUT = 365 * 24 * 3600.0
# Every printable ASCII byte but the percent sign goes as it is (gRPC PROTOCOL-HTTP2.md, Percent-Encoded).
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_LONGEST_MESSAGE = 2_048
_PREFIX_FULL = 0x7F  # what seven bits hold means that more bytes follow
_NOT_METADATA = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"))
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")

RESPONSE: HeaderList = [(b":status", b"200"), (b"content-type", b"application/grpc")]
# The same two as HPACK that touches no dynamic table, so it is right on every connection (RFC 7541 section 6):
# the static entry 8, then a literal without indexing under the static name 31.
RESPONSE_BLOCK = b"\x88\x0f\x10\x10application/grpc"
OK_TRAILERS_BLOCK = b"\x00\x0bgrpc-status\x010"


def literals(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """*headers* as an HPACK block of literals that no table keeps (RFC 7541 section 6.2.2).

    It needs no state, so it is right on every connection and after every setting.
    """
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


def _string(text: bytes) -> bytes:
    """An HPACK string without Huffman coding (sections 5.1 and 5.2)."""
    size, rest = len(text), b""
    if size >= _PREFIX_FULL:
        size, left = _PREFIX_FULL, len(text) - _PREFIX_FULL
        while left > _PREFIX_FULL:
            rest += bytes((left & _PREFIX_FULL | 0x80,))
            left >>= 7
        rest += bytes((left,))
    return bytes((size,)) + rest + text


def timeout_seconds(value: bytes) -> float | None:
    """The seconds of a `grpc-timeout`; None when it is too long to matter. Raises Status INTERNAL, as peers do."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise Status(Code.INTERNAL, "the grpc-timeout is malformed")
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    return seconds if seconds < _LONGEST_TIMEOUT else None


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, tuple[str, ...]]:
    """The caller's own metadata: no pseudo-header, nothing that gRPC itself means something by."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        if not name.startswith(b":") and name not in _NOT_METADATA:
            key = name.decode("latin-1")
            found[key] = (*found.get(key, ()), value.decode("latin-1"))
    return found


def binary_values(values: Iterable[str]) -> tuple[bytes, ...]:
    """The bytes of a `-bin` key: base64 with or without padding, comma-joined values apart. Raises Status."""
    try:
        return tuple(
            base64.b64decode(part + "=" * (-len(part) % 4), validate=True)
            for value in values
            for part in value.replace(" ", "").split(",")
        )
    except binascii.Error:
        raise Status(Code.INTERNAL, "a -bin metadata value is no base64") from None


def encode_metadata(metadata: Mapping[str, str | bytes]) -> HeaderList:
    """*metadata* as headers; raises ValueError for what HTTP/2 could not carry as it is."""
    headers: HeaderList = []
    for name, value in metadata.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metadata key")
        if name.endswith("-bin"):
            raw = value if isinstance(value, bytes) else value.encode()
            headers.append((name.encode(), base64.b64encode(raw).rstrip(b"=")))
        elif isinstance(value, str) and _VALUE.fullmatch(value):
            headers.append((name.encode(), value.encode()))
        else:
            raise ValueError(f"the value of {name!r} is not printable ASCII: use a -bin key")
    return headers


def trailers_of(status: Status, metadata: Mapping[str, str | bytes]) -> HeaderList:
    """The trailers that end a call with *status*; its message percent-encoded and cut to a bounded length."""
    headers = [(b"grpc-status", str(int(status.code)).encode())]
    if status.message:
        text = status.message.encode(errors="replace")[:_LONGEST_MESSAGE]
        headers.append((b"grpc-message", quote_from_bytes(text, safe=_PLAIN).encode()))
    return headers + encode_metadata(metadata) + encode_metadata(status.trailers)
