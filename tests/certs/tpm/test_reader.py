"""The wire of a TPM: what was written is read, and nothing beyond the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.reader import Reader, number, sized


@given(st.integers(0, 2**32 - 1), st.binary(max_size=100), st.binary(max_size=10))
def test_what_was_written_is_read(value: int, data: bytes, rest: bytes) -> None:
    """Numbers, buffers, and that they are all."""
    reader = Reader(number(value, 4) + sized(data) + rest, "it")
    assert (reader.number(4), reader.sized(), reader.take(len(rest))) == (value, data, rest)
    reader.end()


@given(st.binary(max_size=40), st.integers(1, 80))
def test_nothing_is_read_beyond_the_end(data: bytes, more: int) -> None:
    """However long a buffer says that it is."""
    with pytest.raises(RingfenceError, match="too early") as caught:
        Reader(data, "it").take(len(data) + more)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    with pytest.raises(RingfenceError, match="too early"):
        Reader(number(len(data) + more, 2) + data, "it").sized()


def test_what_is_left_over_is_told() -> None:
    """Nobody judged it."""
    with pytest.raises(RingfenceError, match="more follows"):
        Reader(b"x", "it").end()
