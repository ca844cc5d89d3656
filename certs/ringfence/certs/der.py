"""The few DER forms a certificate is made of, so that what is signed is laid out here and signed by any key manager.

cryptography's builder signs only with a key it holds itself; a key manager gives signatures and no key.
"""

from __future__ import annotations

from datetime import datetime

BOOLEAN_TRUE = b"\x01\x01\xff"
INTEGER, BIT_STRING, OCTET_STRING, OID, UTC_TIME, GENERALIZED_TIME, SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x17, 0x18, 0x30
_LAST_UTC_TIME_YEAR = 2049  # RFC 5280 section 4.1.2.5
_SHORT_FORM = 0x80


def tlv(tag: int, content: bytes) -> bytes:
    """One value: tag, definite length in its shortest form (X.690 section 10.1), content."""
    size = len(content)
    if size < _SHORT_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT_FORM | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of values that are already encoded."""
    return tlv(SEQUENCE, b"".join(parts))


def integer(value: int) -> bytes:
    """A non-negative INTEGER; the sign bit costs a leading zero byte."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bit_string(content: bytes) -> bytes:
    """A BIT STRING of whole bytes."""
    return tlv(BIT_STRING, b"\x00" + content)


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted spelling."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(OID, b"".join(_base128(arc) for arc in (first * 40 + second, *rest)))


def time(moment: datetime) -> bytes:
    """A Time in UTC and whole seconds: UTCTime until 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5)."""
    year, month, day, hour, minute, second, *_ = moment.utctimetuple()
    if year <= _LAST_UTC_TIME_YEAR:
        return tlv(UTC_TIME, b"%02d%02d%02d%02d%02d%02dZ" % (year % 100, month, day, hour, minute, second))
    return tlv(GENERALIZED_TIME, b"%04d%02d%02d%02d%02d%02dZ" % (year, month, day, hour, minute, second))


def extension(encoded_oid: bytes, value: bytes, *, critical: bool) -> bytes:
    """An X.509 Extension around the DER of its name and value; `critical` is left out when false, as DER demands."""
    return sequence(encoded_oid, BOOLEAN_TRUE if critical else b"", tlv(OCTET_STRING, value))


def first_of(value: bytes) -> bytes:
    """The first value within a constructed one that is known to be whole, its own tag and length included."""
    start = _header(value, 0)
    first, content = value[start:], _header(value, start) - start
    size = first[1] if first[1] < _SHORT_FORM else int.from_bytes(first[2:content], "big")
    return first[: content + size]


def _header(value: bytes, at: int) -> int:
    length = value[at + 1]
    return at + 2 + (length & 0x7F if length & _SHORT_FORM else 0)


def _base128(arc: int) -> bytes:
    groups = [arc & 0x7F]
    while arc := arc >> 7:
        groups.append(_SHORT_FORM | arc & 0x7F)
    return bytes(reversed(groups))
