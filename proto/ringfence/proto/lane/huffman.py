"""Remembers short Huffman strings of headers: clients say the same dozen on every new connection.

hpack decodes a string a nibble at a time in Python, which was a sixth of what a fresh connection costs. Long strings
(tokens, traces) are not kept, and the memory is bounded: 1,024 strings of at most 64 bytes.
"""

from __future__ import annotations

from functools import lru_cache

from hpack import hpack
from hpack.huffman_table import decode_huffman

_LONGEST = 64
_decoded = lru_cache(maxsize=1_024)(decode_huffman)


def remembering(huffman_string: bytes | bytearray | memoryview | None) -> bytes:
    """What `hpack.huffman_table.decode_huffman` gives; raises what it raises, each time anew."""
    if huffman_string is None or len(huffman_string) > _LONGEST:
        return decode_huffman(huffman_string)
    return _decoded(bytes(huffman_string))


def install() -> None:
    """Have hpack's decoder ask us; its own function is the only seam that it has (hpack 4.x)."""
    hpack.decode_huffman = remembering  # type: ignore[attr-defined]  # not exported, and the only place
