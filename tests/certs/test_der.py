"""The little DER that we write, held against a library's."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs import der
from ringfence.certs.errors import RingfenceError


@given(st.integers(min_value=0, max_value=1 << 160))
def test_an_integer_is_shortest_and_never_negative(value: int) -> None:
    """The content reads back as the same two's complement number, and no byte of it is superfluous."""
    _, size, *content = der.integer(value)
    assert size == len(content)
    assert int.from_bytes(bytes(content), "big", signed=True) == value
    assert len(content) == 1 or content[0] != 0 or content[1] >= 0x80


@given(st.binary(max_size=70_000))
def test_a_length_takes_its_shortest_form(content: bytes) -> None:
    """Up to 127 bytes the length is one byte, beyond it says first how many follow (X.690 10.1)."""
    encoded = der.tlv(der.OCTET_STRING, content)
    assert encoded.endswith(content)
    header = encoded[: len(encoded) - len(content)]
    assert len(header) == (2 if len(content) < 128 else 3 if len(content) < 256 else 4 if len(content) < 65536 else 5)
    assert der.parts(der.sequence(encoded, encoded)) == [encoded, encoded]


@pytest.mark.parametrize("dotted", ["2.5.29.17", "1.2.840.10045.4.3.2", "2.5.4.10", "1.3.132.0.34"])
def test_an_object_identifier_is_as_cryptography_writes_it(dotted: str) -> None:
    """The DER stands, byte for byte, in an extension that cryptography encodes with this name."""
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(dotted)])
    assert usage.public_bytes() == der.sequence(der.oid(dotted))


@pytest.mark.parametrize(
    ("moment", "encoded"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC), b"\x17\x0d260102030405Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
    ],
)
def test_a_time_is_utc_time_until_2049(moment: datetime, encoded: bytes) -> None:
    """From 2050 on it is GeneralizedTime (RFC 5280 4.1.2.5), and fractions of a second are cut."""
    assert der.time(moment) == encoded


@given(st.binary(max_size=64))
def test_parts_of_anything_end_in_an_error_of_ours(value: bytes) -> None:
    """Whatever the bytes, they are taken apart without remainder or refused as INVALID."""
    with contextlib.suppress(RingfenceError):
        assert value.endswith(b"".join(der.parts(value)))


@pytest.mark.parametrize("broken", [b"", b"\x30", b"\x30\x03\x02\x01", b"\x30\x02\x02\x05", b"\x30\x00\x00"])
def test_lengths_that_do_not_add_up_are_refused(broken: bytes) -> None:
    """Truncated, overlong and trailing bytes are INVALID."""
    with pytest.raises(RingfenceError, match="do not add up"):
        der.parts(broken)


@pytest.mark.parametrize("value", [b"\x30\x81\x02\x05\x00", b"\x30\x82\x00\x81" + b"\x04\x7f" + bytes(127)])
def test_a_length_in_a_longer_form_than_needed_is_refused(value: bytes) -> None:
    """There is one spelling of every value (X.690 10.1), so that what is compared byte by byte has no second one."""
    with pytest.raises(RingfenceError, match="shortest form"):
        der.parts(value)
