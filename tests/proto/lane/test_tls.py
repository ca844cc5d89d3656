"""Tests of TLS on a socket of ours, with a pair of sockets and a stand-in that seals by turning every bit."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from ringfence.proto.lane.inlet import Inlet
from ringfence.proto.lane.tls import TlsTransport

_MANY = bytes(range(256)) * 16_000  # 4 MB, more than a pair of sockets holds


def _turned(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data) if len(data) < 1_000 else data.translate(_TURNING)


_TURNING = bytes(byte ^ 0xFF for byte in range(256))


class _Turning:
    """What TLS does, on the two BIOs that it is given; *breaks* at the first byte that it is to read."""

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.largest = 0
        self.breaks = False

    def write(self, data: bytes) -> int:
        self.largest = max(self.largest, len(data))
        return self._outgoing.write(_turned(data))

    def read(self, size: int) -> bytes:
        if self.breaks:
            self._incoming.read(1)
            raise ssl.SSLError(1, "bad record mac")
        return _turned(self._incoming.read(min(size, 100)))

    def unwrap(self) -> None:
        self._outgoing.write(b"goodbye")


class _Heard(asyncio.Protocol):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: TlsTransport | None = None
        self.aborts = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("TlsTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.aborts and self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class _Side:
    """A transport, its protocol, its stand-in for TLS, and the peer's end of the socket."""

    def __init__(self, inlet: Inlet, already: bytes = b"") -> None:
        sock, self.peer = socket.socketpair()
        sock.setblocking(False)
        self.peer.setblocking(False)
        outgoing = ssl.MemoryBIO()
        self.tls = _Turning(inlet.bio, outgoing)
        self.heard = _Heard()
        self.transport = TlsTransport(sock, cast("Any", self.tls), inlet, outgoing)
        inlet.bio.write(_turned(already))
        self.transport.begin(self.heard)

    async def read(self, size: int) -> bytes:
        """So many bytes of what was sent, or all up to its end."""
        got = b""
        async with asyncio.timeout(30):
            while len(got) < size:
                part = await asyncio.get_running_loop().sock_recv(self.peer, size - len(got))
                if not part:
                    break
                got += part
        return got

    def close(self) -> None:
        """Both ends."""
        self.transport.abort()
        self.peer.close()

    async def hears(self, wanted: bytes) -> None:
        """Until the protocol has heard that, and nothing else."""
        await _until(lambda: self.heard.data == wanted)


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - what is tested is the loop's turns
            await asyncio.sleep(0)


@pytest.fixture
async def inlet() -> Inlet:
    """What all transports of a test read through."""
    return Inlet()


@pytest.fixture
async def side(inlet: Inlet) -> AsyncIterator[_Side]:
    """One connection."""
    made = _Side(inlet)
    yield made
    made.close()


async def test_what_came_with_the_handshake_is_not_lost(inlet: Inlet) -> None:
    """A client's first request comes in the same packet as its last word of the handshake."""
    side = _Side(inlet, already=b"early")
    await side.hears(b"early")
    side.peer.send(_turned(b" and late"))
    await side.hears(b"early and late")
    side.close()


async def test_a_write_leaves_at_once_in_one_piece(side: _Side) -> None:
    """No turn of the loop is needed."""
    side.transport.write(b"hello")
    assert side.peer.recv(100) == _turned(b"hello")
    assert side.heard.told == []
    assert side.transport.get_write_buffer_size() == 0


async def test_little_is_sealed_at_once(side: _Side) -> None:
    """The memory in which a record was sealed stays with its connection."""
    side.transport.write(_MANY)
    assert _turned(await side.read(len(_MANY))) == _MANY
    assert side.tls.largest <= 8 * 1024


async def test_what_a_slow_reader_does_not_take_waits(side: _Side) -> None:
    """Sealed is a little of it; its protocol pauses until all has left, and what was said meanwhile comes after it."""
    side.transport.write(_MANY)
    side.transport.write(b"later")
    assert side.heard.told == ["pause"]
    assert 0 < side.transport.get_write_buffer_size() < len(_MANY)
    assert len(side.transport._sealed) <= 64 * 1024
    assert _turned(await side.read(len(_MANY) + 5)) == _MANY + b"later"
    await _until(lambda: side.heard.told == ["pause", "resume"])
    assert side.transport.get_write_buffer_size() == 0


async def test_closing_sends_what_waits_and_says_goodbye(side: _Side) -> None:
    """Also to a slow reader; after that it waits a moment for the peer's own goodbye, and drops what comes."""
    side.transport.write(_MANY)
    side.transport.close()
    side.transport.write(b"never")
    side.peer.send(_turned(b"late"))
    assert await side.read(len(_MANY) + 100) == _turned(_MANY) + b"goodbye"
    side.peer.close()
    assert await side.heard.lost is None
    assert side.heard.data == b""


async def test_a_peer_that_never_says_goodbye_is_left(side: _Side) -> None:
    """It is given a moment, not more."""
    side.transport.close()
    async with asyncio.timeout(30):
        await side.heard.lost


async def test_a_peer_that_hangs_up_gets_what_was_meant_for_it(side: _Side) -> None:
    """It may have ended its own half only."""
    side.peer.shutdown(socket.SHUT_WR)
    side.transport.write(b"last")
    assert await side.read(100) == _turned(b"last") + b"goodbye"
    assert await side.heard.lost is None


async def test_nothing_is_read_while_paused(side: _Side) -> None:
    """What comes stays in the kernel."""
    side.transport.pause_reading()
    side.peer.send(_turned(b"x"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (side.heard.data, side.transport.is_reading()) == (b"", False)
    side.transport.resume_reading()
    await side.hears(b"x")


async def test_what_one_connection_leaves_is_not_taken_for_anothers(inlet: Inlet) -> None:
    """Whether TLS breaks in the middle of what came, or its protocol wants to hear no more."""
    broken, deaf, sound = (_Side(inlet) for _ in range(3))
    broken.tls.breaks = True
    deaf.heard.aborts = True
    for side in (broken, deaf):
        side.peer.send(_turned(b"x" * 1_000))
        async with asyncio.timeout(30):
            await side.heard.lost
        assert inlet.bio.pending == 0
    assert isinstance(broken.heard.lost.result(), ssl.SSLError)
    assert deaf.heard.data == b"x" * 100
    sound.peer.send(_turned(b"mine"))
    await sound.hears(b"mine")
    for side in (broken, deaf, sound):
        side.close()


async def test_an_aborted_connection_is_lost_once(side: _Side) -> None:
    """However often it is aborted, and nothing is written any more."""
    side.transport.write(_MANY)
    side.transport.abort()
    side.transport.abort()
    side.transport.write(b"x")
    assert await side.heard.lost is None
    assert side.transport.get_write_buffer_size() == 0
