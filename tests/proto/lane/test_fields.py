"""Header blocks: what is remembered of other connections never changes what a block means."""

from __future__ import annotations

import hpack
import pytest
from hpack.hpack import NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from ringfence.proto.lane import fields
from ringfence.proto.lane.faults import ErrorCode, ProtocolError
from ringfence.proto.lane.fields import Fields

LIMIT = 4_096
NAMES = st.sampled_from([b"te", b"x-a", b"x-b", b"authorization", b"user-agent", b":path"])
FIELD = st.tuples(NAMES, st.binary(max_size=40) | st.sampled_from([b"", b"same", b"other"]))
SAID = st.lists(st.tuples(st.lists(FIELD, max_size=6), st.sampled_from([None, 0, 64, 4_096])), max_size=8)


def blocks(said: list[tuple[list[tuple[bytes, bytes]], int | None]]) -> list[bytes]:
    """What a client sends that says *said*, with a table size of its choice before each."""
    encoder = hpack.Encoder()
    sent = []
    for block, size in said:
        if size is not None:
            encoder.header_table_size = size
        sent.append(encoder.encode(block))
    return sent


@given(st.lists(SAID, min_size=1, max_size=4))
def test_every_connection_reads_what_its_client_said(connections: list[list[tuple[list[tuple[bytes, bytes]], int]]]):
    """Whatever others have said before, and however tables were changed, a block means what hpack says it means."""
    for said in connections:
        ours = Fields(LIMIT)
        for block, (expected, _) in zip(blocks(said), said, strict=True):
            assert list(ours.decode(block).fields) == expected


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_taken_or_refused_as_hpack_does(sent: list[bytes]) -> None:
    """Bytes that are no block are a compression error, at the same place as for a decoder that remembers nothing."""
    decoder, ours = hpack.Decoder(LIMIT), Fields(LIMIT)
    for block in sent:
        try:
            expected = decoder.decode(block, raw=True)
        except hpack.HPACKError:
            with pytest.raises(ProtocolError):
                ours.decode(block)
            return
        assert list(ours.decode(block).fields) == expected


def test_what_two_connections_say_alike_is_decoded_once() -> None:
    """The second client of a kind costs a look at a table."""
    sent = blocks([([(b"x-a", b"twice")], None), ([(b"x-a", b"twice"), (b"x-b", b"1")], None)])
    first, second = Fields(LIMIT - 1), Fields(LIMIT - 1)
    assert all(first.decode(block) is second.decode(block) for block in sent)


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"proxy-authorization"])
def test_who_somebody_is_is_not_remembered(name: bytes) -> None:
    """A credential is kept no longer than the connection that brought it."""
    (sent,) = blocks([([(name, b"secret")], None)])
    first, second = Fields(LIMIT - 2), Fields(LIMIT - 2)
    assert first.decode(sent) is not second.decode(sent)


def test_a_table_that_holds_a_credential_is_not_remembered() -> None:
    """What a client says after it has shown who it is leads from a table with the credential: that goes with it."""
    limit = LIMIT - 4
    said = [([(b"authorization", b"secret")], None), ([(b"x-a", b"later")], None), ([(b"x-a", b"later")], None)]
    connection = Fields(limit)
    for block in blocks(said):
        connection.decode(block)
    held = fields._memory(limit)._holding
    kept = [state for each in held for state in (each, *(after for _, after in each.known.values()))]
    assert not any(b"secret" in value for state in kept for _, value in state.entries)


def test_the_memory_is_bounded() -> None:
    """A client that says something new each time, on many connections in turn, fills no memory."""
    memory = fields._memory(LIMIT - 3)
    connections = [Fields(LIMIT - 3) for _ in range(3)]
    for number in range(3_000):
        block = hpack.Encoder().encode([NeverIndexedHeaderTuple("x-a", str(number))])
        connections[number % 3].decode(block)
        assert sum(len(state.known) for state in memory._holding) <= 256


def test_a_list_past_the_limit_is_refused() -> None:
    """The bound is on what a block decodes to: indexing makes much of few bytes."""
    encoder, ours = hpack.Encoder(), Fields(1_000)
    ours.decode(encoder.encode([("x-a", "y" * 500)]))
    with pytest.raises(ProtocolError) as refused:
        ours.decode(encoder.encode([("x-a", "y" * 500)] * 3))
    assert refused.value.code is ErrorCode.ENHANCE_YOUR_CALM
