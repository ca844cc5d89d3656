"""Tests of the writing end: what is written at once, and what a close still writes."""

from __future__ import annotations

import asyncio
from typing import Any

from ringfence.proto.lane.framing import frame
from ringfence.proto.lane.limits import Limits
from ringfence.proto.lane.outflow import Outflow
from ringfence.proto.lane.wire import Wire

_MESSAGE = frame(bytes(range(256)) * 2_000)  # half a megabyte
_STREAM = 1


class _Transport(asyncio.Transport):
    """Records writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True


def _begun() -> tuple[Wire, Outflow, _Transport]:
    wire, transport = Wire(Limits()), _Transport()
    outflow = Outflow(wire)
    outflow.begin(transport)
    transport.written.clear()  # the greeting
    wire.streams.begin(_STREAM)
    wire.framed(_STREAM, _MESSAGE)
    return wire, outflow, transport


def _whole() -> bytes:
    return _MESSAGE.wire(_STREAM, 16_384)


async def test_everything_goes_out_in_one_write() -> None:
    """One write, however much has come together."""
    wire, outflow, transport = _begun()
    wire.ping(b"ringping")
    outflow.flush()
    assert len(transport.written) == 1
    assert transport.written[0].startswith(_whole())
    assert transport.written[0].endswith(b"ringping")


async def test_closing_writes_all_there_is() -> None:
    """And after that nothing more."""
    wire, outflow, transport = _begun()
    outflow.close()
    assert b"".join(transport.written) == _whole()
    assert transport.closed
    wire.ping(b"ringping")
    outflow.flush()
    assert b"".join(transport.written) == _whole()
