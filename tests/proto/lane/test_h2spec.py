"""HTTP/2 as h2spec asks for it: its cases one by one, named as it names them, in frames of our own.

h2spec is written to RFC 7540; each case says the section of RFC 9113, or 7541 for HPACK, by which it is judged here.
What may be a stream error or a connection error there is what ours is. Where the newer RFC took a rule back the case
says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringfence.proto.lane import Limits, Method
from ringfence.proto.lane.faults import ErrorCode
from tests.proto.lane import raw
from tests.proto.lane.conftest import Dial, Serve
from tests.proto.lane.h2spec_hpack import HPACK, HPACK_TAKEN
from tests.proto.lane.h2spec_http2 import CONNECTION, FRAMES, GENERIC, MESSAGES
from tests.proto.lane.h2spec_words import (
    CALL,
    CLOSED_STREAM,
    PING,
    REQUEST,
    WATCHED,
    Expected,
    Gone,
    Pong,
    Reset,
    Said,
    Served,
    settings,
)
from tests.proto.lane.handlers import Watched, methods


def cases() -> Iterator[object]:
    """Every one of them under its name."""
    for table in (GENERIC, CONNECTION, FRAMES, MESSAGES, HPACK, HPACK_TAKEN):
        for name, (section, sent, expected) in table.items():
            yield pytest.param(sent, expected, id=f"{name} ({section})")


@pytest.mark.parametrize(("sent", "expected"), list(cases()))
async def test_case(serve: Serve, dial: Dial, sent: bytes, expected: Expected) -> None:
    """What h2spec sends, and what comes back."""
    await serve(methods(Watched=Method(Watched(), bytes)))
    client = await dial()
    await client.send(sent, PING)
    match expected:
        case Gone(code):
            assert raw.goaway_code(await client.ended()) == code
        case Reset(code):
            assert int.from_bytes((await client.until(raw.RST_STREAM, 1)).payload, "big") == code
            assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"12345678"
        case Served(stream):
            assert (await client.response(stream))[1]["grpc-status"] == "0"
        case Said(status):
            assert (await client.until(raw.HEADERS, 1))[":status"] == status
        case Pong():
            assert (await client.until(raw.PING, 0, raw.ACK)).payload == b"12345678"


@pytest.mark.parametrize("late", [raw.data(1, b"x"), raw.headers(1, REQUEST), raw.frame(raw.CONTINUATION, 4, 1, b"")])
async def test_closed_by_both_ends(serve: Serve, dial: Dial, late: bytes) -> None:
    """http2/5.1/11 to 13: whoever has ended a stream and seen its end is silent on it (RFC 9113 section 5.1)."""
    await serve()
    client = await dial()
    await client.send(CALL)
    await client.response(1)
    await client.send(late)
    expected = ErrorCode.PROTOCOL_ERROR if late[3] == raw.CONTINUATION else CLOSED_STREAM
    assert raw.goaway_code(await client.ended()) == expected


async def test_invalid_preface(serve: Serve, dial: Dial) -> None:
    """http2/3.5/2: the connection ends (RFC 9113 section 3.4)."""
    await serve()
    client = await dial(b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert raw.goaway_code(await client.ended()) == ErrorCode.PROTOCOL_ERROR


async def test_more_streams_than_announced(serve: Serve, dial: Dial) -> None:
    """http2/5.1.2/1: refused as safe to try again (RFC 9113 section 5.1.2)."""
    await serve(methods(Watched=Method(Watched(), bytes)), limits=Limits(streams=1))
    client = await dial()
    await client.send(WATCHED, raw.headers(3, raw.request_headers("/t/Watched")))
    assert int.from_bytes((await client.until(raw.RST_STREAM, 3)).payload, "big") == ErrorCode.REFUSED_STREAM


async def test_the_last_of_several_values_counts(serve: Serve, dial: Dial) -> None:
    """http2/6.5.3/1 and 2: settings are taken in their order, and acknowledged (RFC 9113 section 6.5.3)."""
    await serve()
    client = await dial()
    await client.until(raw.SETTINGS, 0, raw.ACK)
    await client.send(settings((4, 100), (4, 1)), CALL)
    await client.until(raw.SETTINGS, 0, raw.ACK)
    assert len((await client.until(raw.DATA, 1)).payload) == 1


async def test_an_answer_to_a_ping_is_not_answered(serve: Serve, dial: Dial) -> None:
    """http2/6.7/2 (RFC 9113 section 6.7)."""
    await serve()
    client = await dial()
    await client.send(raw.frame(raw.PING, raw.ACK, 0, b"unasked!"), PING)
    assert (await client.until(raw.PING)).payload == b"12345678"


async def test_a_window_of_one_byte(serve: Serve, dial: Dial) -> None:
    """http2/6.9.1/1: no more than the window lets through (RFC 9113 section 6.9.1)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=1))
    await client.send(CALL)
    assert len((await client.until(raw.DATA, 1)).payload) == 1


async def test_a_window_that_a_setting_makes_negative(serve: Serve, dial: Dial) -> None:
    """http2/6.9.2/1 and 2: it is worked off before another byte is sent (RFC 9113 section 6.9.2)."""
    await serve()
    client = await dial(raw.PREFACE + raw.settings(initial_window=3))
    await client.send(CALL)
    assert len((await client.until(raw.DATA, 1)).payload) == 3
    await client.send(raw.settings(initial_window=2), raw.window(1, 1), PING)
    while (got := await client.frame()).kind != raw.PING:
        assert got.kind != raw.DATA
    await client.send(raw.window(1, 1))
    assert len((await client.until(raw.DATA, 1)).payload) == 1
