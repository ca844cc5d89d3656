"""The remembered Huffman strings say what hpack's own decoder says."""

from __future__ import annotations

import pytest
from hpack import hpack
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane import huffman

_ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@given(st.binary(max_size=120))
def test_every_string_comes_back(text: bytes) -> None:
    """Short and long, the first time and the second."""
    encoded = bytes(_ENCODER.encode(text))
    assert huffman.remembering(encoded) == text
    assert huffman.remembering(encoded) == text


def test_a_wrong_string_is_wrong_each_time() -> None:
    """An error is not remembered as an answer."""
    for _ in range(2):
        with pytest.raises(HPACKDecodingError):
            huffman.remembering(b"\xff\xff\xff\xff")


def test_the_decoder_of_connections_asks_us() -> None:
    """The seam is a name in hpack: an upgrade that moves it must not pass unnoticed."""
    huffman.install()
    before = huffman._decoded.cache_info().misses
    hpack.Decoder().decode(hpack.Encoder().encode([("x-never-said-before", "qwertyuiop")], huffman=True))
    assert huffman._decoded.cache_info().misses > before
