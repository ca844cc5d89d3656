"""A property of the whole lane: how a client's bytes are split on the way changes no answer."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.proto.lane import Lane
from tests.proto.lane import raw
from tests.proto.lane.handlers import methods
from tests.proto.lane.test_inflow import split

CALLS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["/t/Upper", "/t/Echo", "/t/Nothing", "/t/Refuse"]), st.binary(max_size=200)),
        st.tuples(st.just("/t/Numbers"), st.integers(0, 20).map(lambda n: str(n).encode())),
    ),
    min_size=1,
    max_size=4,
)


async def answers(sent: bytes, pieces: list[bytes], count: int) -> list[tuple[bytes, object]]:
    """The body and the last headers of each call, when *sent* arrives in *pieces*."""
    assert b"".join(pieces) == sent
    lane = Lane(methods())
    with tempfile.TemporaryDirectory() as folder:
        await lane.listen_unix(Path(folder, "s"))
        client = await raw.Raw.connect(str(Path(folder, "s")), b"")
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(0)
        bodies: dict[int, bytes] = {}
        ends: dict[int, object] = {}
        while len(ends) < count:
            got = await client.frame()
            if got.kind == raw.DATA:
                bodies[got.stream] = bodies.get(got.stream, b"") + got.payload
            if got.kind == raw.HEADERS and got.flags & raw.END_STREAM:
                ends[got.stream] = got.headers[-3:]
        await client.close()
        await lane.close()
    return [(bodies.get(stream, b""), ends[stream]) for stream in sorted(ends)]


@pytest.mark.slow
@settings(max_examples=40)
@given(CALLS, st.lists(st.integers(0, 5_000), max_size=30))
def test_splitting_changes_no_answer(calls: list[tuple[str, bytes]], at: list[int]) -> None:
    """The same calls, whole or in pieces, get the same messages and the same end."""
    sent = raw.PREFACE + raw.settings() + b"".join(raw.call(2 * n + 1, *call) for n, call in enumerate(calls))
    whole = asyncio.run(answers(sent, [sent], len(calls)))
    assert asyncio.run(answers(sent, split(sent, at), len(calls))) == whole
