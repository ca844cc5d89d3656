"""The few DER forms a certificate is made of, so that what is signed is laid out here and signed by any key manager.

cryptography's builder signs only with a key it holds itself; a key manager gives signatures and no key.
"""

from __future__ import annotations

from datetime import datetime

from ringfence.certs.errors import Kind, RingfenceError

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
    """The Time of an aware UTC *moment*, in seconds: UTCTime until 2049, then GeneralizedTime (RFC 5280 4.1.2.5)."""
    within_year = (moment.month, moment.day, moment.hour, moment.minute, moment.second)
    if moment.year <= _LAST_UTC_TIME_YEAR:
        return tlv(UTC_TIME, b"%02d%02d%02d%02d%02d%02dZ" % (moment.year % 100, *within_year))
    return tlv(GENERALIZED_TIME, b"%04d%02d%02d%02d%02d%02dZ" % (moment.year, *within_year))


def extension(encoded_oid: bytes, value: bytes, *, critical: bool) -> bytes:
    """An X.509 Extension around the DER of its name and value; `critical` is left out when false, as DER demands."""
    return sequence(encoded_oid, BOOLEAN_TRUE if critical else b"", tlv(OCTET_STRING, value))


def parts(value: bytes) -> list[bytes]:
    """The values within a constructed one, each with its tag and length; raises INVALID when they do not fill it."""
    found = []
    try:
        at, end = _content(value, 0)
        while at < end:
            # Short values, nearly all of a certificate's, without a call each: this is where issuing spends its time.
            length = value[at + 1]
            following = at + 2 + length if length < _SHORT_FORM else _content(value, at)[1]
            found.append(value[at:following])
            at = following
    except IndexError:
        at, end = -1, 0
    if at != end or end != len(value):
        raise RingfenceError(Kind.INVALID, "the lengths within a DER value do not add up")
    return found


def content(value: bytes) -> bytes:
    """What is within one value, without its tag and length."""
    start, end = _content(value, 0)
    return value[start:end]


def _content(value: bytes, at: int) -> tuple[int, int]:
    length = value[at + 1]
    start = at + 2
    if length >= _SHORT_FORM:
        start += length - _SHORT_FORM
        length = int.from_bytes(value[at + 2 : start], "big")
        if length < _SHORT_FORM or not value[at + 2]:
            raise RingfenceError(Kind.INVALID, "a length within a DER value is not in its shortest form")
    return start, start + length


def _base128(arc: int) -> bytes:
    groups = [arc & 0x7F]
    while arc := arc >> 7:
        groups.append(_SHORT_FORM | arc & 0x7F)
    return bytes(reversed(groups))
