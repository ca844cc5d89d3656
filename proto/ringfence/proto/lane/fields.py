"""Header blocks to fields: hpack decodes, and blocks that many connections say alike are decoded once.

What a block means depends on the dynamic table that those before it have left (RFC 7541 section 2.3). A client says
much the same at each call, and another client of the same make says it from the same state: so states are shared
values, and each remembers which block led from it to which state.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import cast

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from ringfence.proto.lane import huffman
from ringfence.proto.lane.faults import ErrorCode, ProtocolError
from ringfence.proto.lane.request import Request, request_of

huffman.install()
_SIZE_UPDATE, _SIZE_UPDATE_MASK = 0x20, 0xE0
# What is remembered: short blocks, so many in all, and none that shows who somebody is.
_LONGEST, _MOST = 512, 256
_PRIVATE = frozenset((b"authorization", b"cookie", b"proxy-authorization"))


def _is_private(fields: tuple[tuple[bytes, bytes], ...]) -> bool:
    return any(name in _PRIVATE for name, _ in fields)


class Block:
    """The fields of one header block, and the request that they are if they are one."""

    def __init__(self, fields: tuple[tuple[bytes, bytes], ...]) -> None:
        self.fields = fields

    @cached_property
    def request(self) -> Request:
        """The request; raises ProtocolError when it is malformed."""
        return request_of(self.fields)


class State:
    """A dynamic table, newest entry first, and what is known of blocks that are decoded with it."""

    __slots__ = ("entries", "known", "size")

    def __init__(self, entries: tuple[tuple[bytes, bytes], ...], size: int) -> None:
        self.entries = entries
        self.size = size
        self.known: dict[bytes, tuple[Block, State]] = {}


class _Table(HeaderTable):
    """A table that knows whether it was changed."""

    changed = False

    def add(self, name: bytes, value: bytes) -> None:
        self.changed = True
        super().add(name, value)


class Memory:
    """The states that connections share; all is forgotten when it is too much, which costs each one decoding."""

    __slots__ = ("_count", "_holding", "first", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._count = 0
        self._holding: set[State] = set()
        self.first = State((), HeaderTable.DEFAULT_SIZE)

    def keep(self, state: State, block: bytes, met: Block, after: State) -> None:
        """Remember that *block* leads from *state* to *after*."""
        # What is remembered outlives its connection, and the tables before and after with it.
        if len(block) > _LONGEST or any(map(_is_private, (met.fields, state.entries, after.entries))):
            return
        if self._count >= _MOST:
            for each in self._holding:
                each.known.clear()
            self._holding.clear()
            self._count = 0
        self._count += 1
        self._holding.add(state)
        state.known[block] = (met, after)


@lru_cache(maxsize=8)
def _memory(limit: int) -> Memory:
    """What all connections share whose header lists have the same bound: it is judged while decoding."""
    return Memory(limit)


class Fields:
    """The header blocks of one connection, in the order in which they came."""

    __slots__ = ("_decoder", "_memory", "_state", "_table")

    def __init__(self, limit: int) -> None:
        self._memory = _memory(limit)
        self._state = self._memory.first
        self._decoder: Decoder | None = None  # made for the first block that nobody has said before
        self._table: tuple[_Table, State] | None = None  # its table, and which state that is in

    def decode(self, block: bytes) -> Block:
        """What *block* says; raises ProtocolError, after which no other can be decoded."""
        known = self._state.known.get(block)
        if known is None:
            known = self._decode(block)
        self._state = known[1]
        return known[0]

    def _decode(self, block: bytes) -> tuple[Block, State]:
        table = self._ready()
        decoder = cast("Decoder", self._decoder)
        try:
            found = Block(tuple((bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)))
        except OversizedHeaderListError:
            raise ProtocolError("the header list is too large", ErrorCode.ENHANCE_YOUR_CALM) from None
        except HPACKError:
            raise ProtocolError("the header block does not decode", ErrorCode.COMPRESSION_ERROR) from None
        after = self._state
        if table.changed or (block[:1] and block[0] & _SIZE_UPDATE_MASK == _SIZE_UPDATE):
            after = State(tuple(table.dynamic_entries), table.maxsize)
        self._table = (table, after)
        self._memory.keep(self._state, block, found, after)
        return found, after

    def _ready(self) -> _Table:
        """The decoder's table, which is as the state says."""
        if self._decoder is None:
            self._decoder = Decoder(self._memory.limit)
        if self._table is None or self._table[1] is not self._state:
            table = _Table()
            table.maxsize = self._state.size
            for name, value in reversed(self._state.entries):
                table.add(name, value)
            self._table = (table, self._state)
            self._decoder.header_table = table
        self._table[0].changed = False
        return self._table[0]
