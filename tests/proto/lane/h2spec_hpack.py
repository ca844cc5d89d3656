"""The cases of h2spec on HPACK, by its names: blocks that are taken, and blocks that end the connection."""

from __future__ import annotations

from tests.proto.lane import raw
from tests.proto.lane.h2spec_words import (
    BLOCK,
    COMPRESSION,
    REQUEST,
    Case,
    Gone,
    Served,
    hello,
    opened,
)


def taken(section: str, block: bytes) -> Case:
    """A request with that header block is answered."""
    return section, opened(block) + hello(), Served(1)


HPACK_TAKEN: dict[str, Case] = {
    "generic/5/1 indexed": taken("7541 6.1", b"\x83\x86" + raw.headers(1, REQUEST[2:])[9:]),
    "generic/5/2 literal with indexing, indexed name": taken("7541 6.2.1", BLOCK + b"\x7a\x01x"),
    "generic/5/3 literal with indexing, indexed name, Huffman": taken("7541 6.2.1", BLOCK + b"\x7a\x81\xf3"),
    "generic/5/4 literal with indexing, new name": taken("7541 6.2.1", BLOCK + b"\x40\x01x\x01y"),
    "generic/5/5 literal with indexing, new name, Huffman": taken("7541 6.2.1", BLOCK + b"\x40\x81\xf3\x81\xf5"),
    "generic/5/6 literal without indexing, indexed name": taken("7541 6.2.2", BLOCK + b"\x0f\x2b\x01x"),
    "generic/5/7 literal without indexing, indexed name, Huffman": taken("7541 6.2.2", BLOCK + b"\x0f\x2b\x81\xf3"),
    "generic/5/8 literal without indexing, new name": taken("7541 6.2.2", BLOCK + b"\x00\x01x\x01y"),
    "generic/5/9 literal without indexing, new name, Huffman": taken("7541 6.2.2", BLOCK + b"\x00\x81\xf3\x81\xf5"),
    "generic/5/10 literal never indexed, indexed name": taken("7541 6.2.3", BLOCK + b"\x1f\x2b\x01x"),
    "generic/5/11 literal never indexed, indexed name, Huffman": taken("7541 6.2.3", BLOCK + b"\x1f\x2b\x81\xf3"),
    "generic/5/12 literal never indexed, new name": taken("7541 6.2.3", BLOCK + b"\x10\x01x\x01y"),
    "generic/5/13 literal never indexed, new name, Huffman": taken("7541 6.2.3", BLOCK + b"\x10\x81\xf3\x81\xf5"),
    "generic/5/14 a new table size first": taken("7541 6.3", b"\x3f\xe1\x1f" + BLOCK),
    "generic/5/15 two new table sizes first": taken("7541 4.2", b"\x20\x3f\xe1\x1f" + BLOCK),
}

HPACK: dict[str, Case] = {
    "hpack/2.3.3/1 an index that is not there": ("7541 2.3.3", opened(BLOCK + b"\xc6"), Gone(COMPRESSION)),
    "hpack/2.3.3/2 a name by an index that is not there": (
        "7541 2.3.3",
        opened(BLOCK + b"\x7f\x07\x01x"),
        Gone(COMPRESSION),
    ),
    "hpack/4.2/1 a table size at the end of a block": ("7541 4.2", opened(BLOCK + b"\x20"), Gone(COMPRESSION)),
    "hpack/5.2/1 padding of more than seven bits": (
        "7541 5.2",
        opened(BLOCK + b"\x00\x82\xf3\xff\x01y"),
        Gone(COMPRESSION),
    ),
    "hpack/5.2/2 padding of zeros": ("7541 5.2", opened(BLOCK + b"\x00\x81\xf2\x01y"), Gone(COMPRESSION)),
    "hpack/5.2/3 the end of a string within it": (
        "7541 5.2",
        opened(BLOCK + b"\x00\x85\xf3\xff\xff\xff\xff\x01y"),
        Gone(COMPRESSION),
    ),
    "hpack/6.1/1 the index zero": ("7541 6.1", opened(BLOCK + b"\x80"), Gone(COMPRESSION)),
    "hpack/6.3/1 a table larger than we allow": ("7541 6.3", opened(b"\x3f\xe2\x1f" + BLOCK), Gone(COMPRESSION)),
}
