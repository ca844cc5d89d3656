"""Tests of gRPC's message framing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane.framing import Deframer, data_frames, frame
from ringfence.proto.status import Code, Status
from tests.proto.lane.test_inflow import split

MESSAGES = st.lists(st.binary(max_size=100), max_size=8)


@given(MESSAGES, st.lists(st.integers(0, 1000), max_size=40))
def test_messages_survive_any_split(messages: list[bytes], at: list[int]) -> None:
    """However the bytes arrive, the same messages come out."""
    deframer = Deframer(100)
    sent = b"".join(frame(message).data for message in messages)
    assert [m for piece in split(sent, at) for m in deframer.feed(piece)] == messages
    assert not len(deframer)


@given(st.binary(min_size=1, max_size=200), st.integers(1, 64), st.integers(1, 99))
def test_data_frames_hold_the_message(payload: bytes, max_frame: int, stream: int) -> None:
    """DATA frames carry the whole message in order, none longer than the peer takes."""
    wire = data_frames(stream, payload, max_frame)
    found = b""
    while wire:
        length = int.from_bytes(wire[:3], "big")
        assert length <= max_frame
        assert wire[3:9] == bytes(2) + stream.to_bytes(4, "big")
        found += wire[9 : 9 + length]
        wire = wire[9 + length :]
    assert found == payload


def test_equal_streams_share_their_frames() -> None:
    """Streams of one number share not only the message but the very bytes on the wire."""
    framed = frame(b"x" * 100)
    assert framed.wire(1, 16_384) is framed.wire(1, 16_384)
    assert framed.wire(3, 16_384) != framed.wire(1, 16_384)
    assert len(framed.wire(1, 10)) > len(framed.wire(1, 16_384))


def test_the_streams_of_a_connection_share_with_those_of_the_next() -> None:
    """What was cut for a few numbers is kept for each; with ever more numbers nothing heaps up."""
    framed = frame(b"x" * 100)
    first = [framed.wire(stream, 16_384) for stream in (1, 3, 5)]
    assert all(framed.wire(stream, 16_384) is cut for stream, cut in zip((1, 3, 5), first, strict=True))
    for stream in range(7, 99, 2):
        framed.wire(stream, 16_384)
    assert len(framed._cuts) < 8


@pytest.mark.parametrize("whole", [True, False])
def test_too_large_is_refused_by_its_prefix(whole: bool) -> None:  # noqa: FBT001
    """A message past the limit is refused as soon as its length is known."""
    sent = frame(bytes(101)).data
    with pytest.raises(Status) as caught:
        Deframer(100).feed(sent if whole else sent[:5])
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_compressed_is_refused(flag: int) -> None:
    """Any flag but 0 is refused, and identity named."""
    with pytest.raises(Status) as caught:
        Deframer(100).feed(bytes([flag]) + bytes(4))
    assert caught.value.code is Code.UNIMPLEMENTED
    assert caught.value.trailers == {"grpc-accept-encoding": "identity"}


def test_repr_shows_no_content() -> None:
    """A framed message may be a secret: its text form is its size."""
    assert repr(frame(b"secret")) == "Framed(11 bytes)"
