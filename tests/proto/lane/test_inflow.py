"""Tests of cutting bytes into frames: the same frames come out however the bytes were split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane.faults import ErrorCode, ProtocolError
from ringfence.proto.lane.inflow import Inflow, unpadded
from tests.proto.lane import raw

FRAMES = st.lists(
    st.one_of(
        st.builds(
            raw.frame, st.just(raw.DATA), st.sampled_from([0, 1]), st.integers(1, 2**31 - 1), st.binary(max_size=40)
        ),
        st.builds(
            raw.frame, st.sampled_from([3, 4, 6, 7, 8, 99]), st.integers(0, 255), st.just(0), st.binary(max_size=40)
        ),
        st.just(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, b"block")),
        st.just(raw.frame(raw.HEADERS, 0, 1, b"bl") + raw.frame(raw.CONTINUATION, raw.END_HEADERS, 1, b"ock")),
    ),
    max_size=12,
)


def split(data: bytes, at: list[int]) -> list[bytes]:
    """*data* cut at the places *at*, empty pieces left out."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in pairwise(places)]


def cut(pieces: list[bytes]) -> list[tuple[int, int, int, bytes]]:
    """The frames that come out of *pieces*."""
    inflow = Inflow(64)
    return [frame for piece in pieces for frame in inflow.cut(piece)]


@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=60))
def test_splitting_changes_nothing(frames: list[bytes], at: list[int]) -> None:
    """Whole or in pieces, the frames that were sent come out, none lost and none twice."""
    sent = raw.PREFACE + b"".join(frames)
    found = cut(split(sent, at))
    assert b"".join(raw.frame(*frame) for frame in found) == b"".join(frames)
    assert found == cut([sent])


def test_reserved_bit_is_ignored() -> None:
    """The highest bit before a stream id means nothing (RFC 9113 section 4.1)."""
    ((_, _, stream, _),) = cut([raw.PREFACE + raw.frame(raw.DATA, 0, 2**31 + 5, b"x")])
    assert stream == 5


def test_frame_past_the_limit() -> None:
    """A frame that is too long is refused by its header, before it is here."""
    with pytest.raises(ProtocolError) as refused:
        cut([raw.PREFACE + (65).to_bytes(3, "big") + bytes(6)])
    assert refused.value.code is ErrorCode.FRAME_SIZE_ERROR


@given(st.integers(0, 23), st.integers(0, 255), st.lists(st.integers(0, 10_000), max_size=5))
def test_another_protocol_is_refused_at_its_first_wrong_byte(place: int, byte: int, at: list[int]) -> None:
    """Whoever does not begin with the preface of HTTP/2 speaks something else (RFC 9113 section 3.4)."""
    wrong = raw.PREFACE[:place] + bytes([byte]) + raw.PREFACE[place + 1 :]
    if wrong == raw.PREFACE:
        return
    with pytest.raises(ProtocolError):
        cut(split(wrong, at))


@given(st.binary(max_size=50), st.integers(0, 255))
def test_padding_is_taken_off(payload: bytes, padding: int) -> None:
    """What was padded comes out as it was."""
    padded = bytes([padding]) + payload + bytes(padding)
    assert unpadded(raw.PADDED, padded) == payload
    assert unpadded(0, payload) == payload


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abcd", b"\xff"])
def test_padding_longer_than_the_frame(payload: bytes) -> None:
    """Padding that is not there is an error (RFC 9113 section 6.1)."""
    with pytest.raises(ProtocolError):
        unpadded(raw.PADDED, payload)
