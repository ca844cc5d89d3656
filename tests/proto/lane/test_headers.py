"""Tests of what gRPC says in headers."""

from __future__ import annotations

from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane import headers
from ringfence.proto.status import Code, Status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1S", 1), (b"1500m", 1.5), (b"2M", 120), (b"3H", 10_800), (b"5u", 5e-6), (b"7n", 7e-9), (b"0S", 0)],
)
def test_timeouts(value: bytes, seconds: float) -> None:
    """Every unit of a grpc-timeout."""
    assert headers.timeout_seconds(value) == pytest.approx(seconds)


def test_timeout_too_long_to_matter() -> None:
    """Eleven thousand years are no deadline."""
    assert headers.timeout_seconds(b"99999999H") is None


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"-1S", b"123456789S", b"1S\n", b"1x", b"\xd9\xa1S"])
def test_malformed_timeouts(value: bytes) -> None:
    """A timeout that is none is refused with INTERNAL, as other servers do."""
    with pytest.raises(Status) as caught:
        headers.timeout_seconds(value)
    assert caught.value.code is Code.INTERNAL


@given(st.text(max_size=300))
def test_messages_round_trip(text: str) -> None:
    """A status message of any characters is printable ASCII on the wire and comes back (surrogates replaced)."""
    wire = dict(headers.trailers_of(Status(Code.NOT_FOUND, text), {})).get(b"grpc-message", b"")
    assert all(0x20 <= byte <= 0x7E for byte in wire)
    assert unquote(wire.decode()) == text.encode(errors="replace").decode()


def test_message_is_bounded() -> None:
    """A message of any length leaves room for the other trailers."""
    wire = dict(headers.trailers_of(Status(Code.INTERNAL, "\0" * 100_000), {}))[b"grpc-message"]
    assert len(wire) < 8192


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4))
def test_binary_metadata_round_trips(values: list[bytes]) -> None:
    """Binary values come back, separate or joined by commas."""
    wire = [headers.encode_metadata({"x-bin": value})[0][1].decode() for value in values]
    assert not any("=" in text for text in wire)
    assert headers.binary_values(wire) == tuple(values)
    assert headers.binary_values([",".join(wire)]) == tuple(values)


def test_binary_metadata_that_is_none() -> None:
    """What is no base64 is refused."""
    with pytest.raises(Status):
        headers.binary_values(["!!!"])


def test_metadata_leaves_out_what_is_grpcs_own() -> None:
    """The caller's own keys stay, pseudo-headers and gRPC's do not."""
    said = [(b":path", b"/a"), (b"te", b"trailers"), (b"grpc-timeout", b"1S"), (b"a", b"1"), (b"a", b"\xe9")]
    assert headers.metadata_of(said) == {"a": ("1", "é")}


@pytest.mark.parametrize(
    ("block", "fields"),
    [(headers.RESPONSE_BLOCK, headers.RESPONSE), (headers.OK_TRAILERS_BLOCK, [(b"grpc-status", b"0")])],
)
def test_blocks_encoded_beforehand(block: bytes, fields: headers.HeaderList) -> None:
    """The blocks that we keep encoded say what they stand for, and leave the decoder's table alone."""
    decoder = hpack.Decoder()
    assert decoder.decode(block, raw=True) == fields
    assert not decoder.header_table.dynamic_entries
