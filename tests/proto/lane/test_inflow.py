"""Tests of cutting bytes into frames: the same frames come out however the bytes were split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from h2.exceptions import FrameTooLargeError, ProtocolError
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane.inflow import OTHER, Inflow, payload_of
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


def cut(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """What comes out of *pieces*; neighbouring bytes for h2 joined."""
    inflow = Inflow(64)
    found: list[tuple[int, bytes]] = []
    for stream, part in (pair for piece in pieces for pair in inflow.cut(piece)):
        if found and stream == found[-1][0] == OTHER:
            found[-1] = (OTHER, found[-1][1] + part)
        else:
            found.append((stream, part))
    return found


@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=60))
def test_splitting_changes_nothing(frames: list[bytes], at: list[int]) -> None:
    """Whole or in pieces, the same frames come out, none lost and none twice."""
    sent = raw.PREFACE + b"".join(frames)
    assert cut(split(sent, at)) == cut([sent])
    assert b"".join(part for _, part in cut([sent])) == sent


@given(FRAMES)
def test_every_data_frame_is_found(frames: list[bytes]) -> None:
    """DATA comes out frame by frame with its stream; nothing else does."""
    expected = [f for f in frames if f[3] == raw.DATA]
    found = cut([raw.PREFACE + b"".join(frames)])
    assert [part for stream, part in found if stream != OTHER] == expected
    assert [stream for stream, _ in found if stream != OTHER] == [int.from_bytes(f[5:9], "big") for f in expected]


def test_reserved_bit_is_ignored() -> None:
    """The highest bit before a stream id means nothing (RFC 9113 section 4.1)."""
    inflow = Inflow(64)
    list(inflow.cut(raw.PREFACE))
    ((stream, _),) = inflow.cut(raw.frame(raw.DATA, 0, 2**31 + 5, b"x"))
    assert stream == 5


def test_data_within_a_header_block_is_left_to_h2() -> None:
    """Between the parts of a header block DATA is an error that h2 must see."""
    inside = raw.frame(raw.HEADERS, 0, 1, b"bl") + raw.frame(raw.DATA, 0, 1, b"x")
    assert cut([raw.PREFACE + inside]) == [(OTHER, raw.PREFACE + inside)]


def test_frame_past_the_limit() -> None:
    """A frame that is too long is refused by its header, before it is here."""
    inflow = Inflow(64)
    with pytest.raises(FrameTooLargeError):
        list(inflow.cut(raw.PREFACE + (65).to_bytes(3, "big") + bytes(6)))


@given(st.binary(max_size=50), st.integers(0, 255))
def test_padding_is_taken_off(payload: bytes, padding: int) -> None:
    """What was padded comes out as it was."""
    padded = raw.frame(raw.DATA, raw.PADDED, 1, bytes([padding]) + payload + bytes(padding))
    assert payload_of(padded) == payload
    assert payload_of(raw.frame(raw.DATA, 0, 1, payload)) == payload


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abcd", b"\xff"])
def test_padding_longer_than_the_frame(payload: bytes) -> None:
    """Padding that is not there is an error (RFC 9113 section 6.1)."""
    with pytest.raises(ProtocolError):
        payload_of(raw.frame(raw.DATA, raw.PADDED, 1, payload))
