"""Fields to a gRPC request: RFC 9113 section 8 says which are well-formed, gRPC's PROTOCOL-HTTP2.md what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.proto.lane.faults import ProtocolError
from ringfence.proto.lane.headers import HeaderList, timeout_seconds, trailers_of
from ringfence.proto.status import Code, Status

Fields = tuple[tuple[bytes, bytes], ...]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_NEEDED = frozenset((b":method", b":scheme", b":path"))
# Of a connection, which HTTP/2 has no use for (section 8.2.2).
_HOPS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for. `refusal` is the HTTP answer to what is no gRPC, `timeout_fault` a bad grpc-timeout."""

    path: str
    fields: Fields
    timeout: float | None = None  # seconds
    length: int | None = None  # bytes of content, where it says so
    timeout_fault: Status | None = None
    refusal: HeaderList | None = None


def request_of(fields: Fields) -> Request:
    """The request that *fields* are; raises ProtocolError for a malformed one (RFC 9113 section 8.1.1)."""
    # 1. Pseudo-header fields come first, each once, and none but those of a request (section 8.3).
    pseudo = _pseudo(fields)
    if not pseudo.keys() >= _NEEDED or not pseudo[b":path"]:
        raise ProtocolError("a request without method, scheme or path")
    # 2. The others are well-formed.
    said = dict(fields[len(pseudo) :])
    _check(fields[len(pseudo) :])
    # 3. It says for whom it is, and only in one way (section 8.3.1).
    host = said.get(b"host")
    if pseudo.get(b":authority", host) is None or host not in {None, pseudo.get(b":authority", host)}:
        raise ProtocolError("a request needs one authority")
    # 4. It says at most once how long it is (section 8.1.1).
    length = _length(fields)
    # 5. What it means as gRPC.
    timeout, fault = _timeout(said)
    path = pseudo[b":path"].decode("latin-1")
    return Request(path, fields, timeout, length, fault, _refusal(pseudo, said))


def check_trailers(fields: Fields) -> None:
    """Raise ProtocolError unless *fields* may end a request (section 8.1)."""
    _check(fields)


def _pseudo(fields: Fields) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in found or not _VALUE.fullmatch(value):
            raise ProtocolError(f"the pseudo-header field {name!r} is not for a request")
        found[name] = value
    return found


def _check(fields: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ProtocolError(f"the header field {name[:40]!r} is malformed")
        if name in _HOPS or (name == b"te" and value.lower() != b"trailers"):
            raise ProtocolError(f"the header field {name!r} is of a connection, not of a request")


def _length(fields: Fields) -> int | None:
    found = {value for name, value in fields if name == b"content-length"}
    if not found:
        return None
    value = found.pop()
    if found or not _LENGTH.fullmatch(value):
        raise ProtocolError("the content-length is no length")
    return int(value)


def _timeout(said: dict[bytes, bytes]) -> tuple[float | None, Status | None]:
    value = said.get(b"grpc-timeout")
    if value is None:
        return None, None
    try:
        return timeout_seconds(value), None
    except Status as fault:
        return None, fault


def _refusal(pseudo: dict[bytes, bytes], said: dict[bytes, bytes]) -> HeaderList | None:
    if pseudo[b":method"] != b"POST":
        return [(b":status", b"405"), (b"allow", b"POST")]
    content_type = said.get(b"content-type", b"")
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        return [(b":status", b"415")]
    if b"te" not in said:
        # Something between that does not pass trailers would hide how every call ends.
        return [(b":status", b"400"), *trailers_of(Status(Code.INTERNAL, "the te: trailers header is missing"), {})]
    return None
