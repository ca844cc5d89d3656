"""Tests of the writing end: what TLS is given at once, and what waits while the peer reads slowly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringfence.proto.lane.framing import frame
from ringfence.proto.lane.limits import Limits
from ringfence.proto.lane.outflow import Outflow
from ringfence.proto.lane.wire import Wire

_MESSAGE = frame(bytes(range(256)) * 2_000)  # half a megabyte
_STREAM = 1


class _Transport(asyncio.Transport):
    """Records writes; with *room*, it tells of a slow reader once so many bytes were written."""

    def __init__(self, *, tls: bool, room: int = 1 << 30) -> None:
        super().__init__({"ssl_object": object() if tls else None})
        self.written: list[bytes] = []
        self.room = room
        self.limit: int | None = None
        self.closed = False
        self.outflow: Outflow | None = None

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(bytes(data))
        if len(b"".join(self.written)) > self.room and self.outflow is not None:
            self.outflow.pause()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002
        self.limit = high

    def pause_reading(self) -> None:
        """Not looked at."""

    def resume_reading(self) -> None:
        """Not looked at."""

    def close(self) -> None:
        self.closed = True


def _begun(*, tls: bool, room: int = 1 << 30) -> tuple[Wire, Outflow, _Transport]:
    wire, transport = Wire(Limits()), _Transport(tls=tls, room=room)
    outflow = transport.outflow = Outflow(wire)
    outflow.begin(transport)
    transport.written.clear()  # the greeting
    wire.streams.begin(_STREAM)
    wire.framed(_STREAM, _MESSAGE)
    return wire, outflow, transport


def _whole() -> bytes:
    return _MESSAGE.wire(_STREAM, 16_384)


async def test_a_plain_socket_gets_all_at_once() -> None:
    """One write, and the transport's own limits stay."""
    _, outflow, transport = _begun(tls=False)
    outflow.flush()
    assert transport.written == [_whole()]
    assert transport.limit is None


async def test_tls_gets_a_little_at_a_time() -> None:
    """What TLS once held encrypted it keeps for the life of the connection: no write is large, and all is written."""
    _, outflow, transport = _begun(tls=True)
    outflow.flush()
    assert b"".join(transport.written) == _whole()
    assert max(map(len, transport.written)) <= 32 * 1024
    assert transport.limit == 64 * 1024


async def test_what_a_slow_reader_does_not_take_waits_outside_of_tls() -> None:
    """Nothing is written while paused; it goes on where it stopped, before what was said meanwhile."""
    wire, outflow, transport = _begun(tls=True, room=100_000)
    outflow.flush()
    assert len(b"".join(transport.written)) < 140_000
    wire.ping(b"ringping")
    outflow.flush()
    assert len(b"".join(transport.written)) < 140_000
    transport.room = 1 << 30
    outflow.resume()
    written = b"".join(transport.written)
    assert written.startswith(_whole())
    assert written.endswith(b"ringping")
    assert len(written) == len(_whole()) + 9 + 8


@pytest.mark.parametrize("tls", [True, False])
async def test_closing_writes_all_there_is(tls: bool) -> None:  # noqa: FBT001
    """Also what waits for a slow reader, who is given time to take it; after that nothing more."""
    wire, outflow, transport = _begun(tls=tls, room=100_000)
    outflow.flush()
    outflow.close()
    assert b"".join(transport.written) == _whole()
    assert transport.closed
    wire.ping(b"ringping")
    outflow.flush()
    outflow.resume()
    assert b"".join(transport.written) == _whole()


async def test_a_lost_connection_takes_its_rest_along() -> None:
    """Nothing is kept for a peer that has gone."""
    _, outflow, transport = _begun(tls=True, room=100_000)
    outflow.flush()
    written = list(transport.written)
    outflow.lost()
    outflow.resume()
    assert transport.written == written
    assert outflow._rest == b""
