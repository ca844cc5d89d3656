"""Tests of handshakes: whose turn it is, when the clock runs, and that a few silent clients keep nobody out."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringfence.proto.lane import Lane, Limits
from ringfence.proto.lane.gate import AT_ONCE, Gate
from ringfence.proto.lane.handshake import Handshake
from ringfence.proto.lane.inlet import Inlet
from ringfence.proto.lane.tls import TlsTransport
from tests.proto.lane.handlers import methods
from tests.proto.lane.test_listener import Issuer, dial

_LONG = 3_600.0


class _Blocker:
    """Takes the one place of a gate."""

    def begin(self) -> None:
        """And keeps it."""


class _Attempt:
    """A handshake of which the test holds the client's end."""

    def __init__(self, context: ssl.SSLContext, issuer: Issuer, gate: Gate) -> None:
        sock, self.peer = socket.socketpair()
        sock.setblocking(False)
        self.result: list[TlsTransport | Exception] = []
        self.handshake = Handshake(sock, lambda: context, gate, Inlet(), _LONG, self.result.append)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = ssl.create_default_context(cadata=issuer.pem.decode())
        self._tls = trusting.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def speak(self) -> None:
        """Say what is the client's to say now."""
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.peer.send(self._outgoing.read())

    def listen(self) -> None:
        """Take what the server has said."""
        self._incoming.write(self.peer.recv(100_000))

    @property
    def timer(self) -> asyncio.TimerHandle:
        """Its clock."""
        return self.handshake._timer


@pytest.fixture
async def issuer(tmp_path: Path) -> Issuer:
    """The root that both sides trust."""
    return await asyncio.to_thread(Issuer, "root", tmp_path)


@pytest.fixture
async def context(issuer: Issuer) -> ssl.SSLContext:
    """The server's."""
    return await asyncio.to_thread(issuer.context)


Attempts = Callable[[Gate], _Attempt]


@pytest.fixture
def attempts(issuer: Issuer, context: ssl.SSLContext) -> Iterator[Attempts]:
    """Begins handshakes at a gate."""
    made: list[_Attempt] = []

    def begin(gate: Gate) -> _Attempt:
        made.append(_Attempt(context, issuer, gate))
        return made[-1]

    yield begin
    for attempt in made:
        attempt.handshake.cancel()
        attempt.peer.close()


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - what is tested is the loop's turns
            await asyncio.sleep(0)


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_clock_stands_while_it_is_not_its_turn(attempts: Attempts) -> None:
    """A client that waits at the gate has done all that is its to do; then it has its whole time."""
    gate, blocker = Gate(at_once=1, young_seconds=_LONG), _Blocker()
    gate.ask(blocker)
    attempt = attempts(gate)
    attempt.speak()
    await _until(attempt.timer.cancelled)
    first = attempt.timer
    gate.over(blocker)
    await _until(lambda: attempt.timer is not first)
    assert not attempt.timer.cancelled()
    attempt.listen()
    attempt.speak()
    await _until(lambda: bool(attempt.result))
    (transport,) = attempt.result
    assert isinstance(transport, TlsTransport)
    assert attempt.timer.cancelled()
    transport.abort()


async def test_what_has_come_when_time_is_up_has_come_in_time(attempts: Attempts) -> None:
    """It was we who were too busy to read it: a first word still gets its turn, and a last one is still taken."""
    attempt = attempts(Gate())
    attempt.speak()
    attempt.handshake._expire()
    assert attempt.result == []
    await _turns()
    attempt.listen()
    attempt.speak()
    attempt.handshake._expire()
    (transport,) = attempt.result
    assert isinstance(transport, TlsTransport)
    transport.abort()
    attempt.handshake._expire()
    attempt.handshake.cancel()
    assert len(attempt.result) == 1


@pytest.mark.parametrize("words", [0, 1])
async def test_a_client_that_says_no_more_is_left(attempts: Attempts, words: int) -> None:
    """Before its first word, and after it."""
    attempt = attempts(Gate())
    for _ in range(words):
        attempt.speak()
        await _turns()
    attempt.handshake._expire()
    assert [type(one) for one in attempt.result] == [TimeoutError]


async def test_an_ending_server_lets_go_of_those_that_wait(attempts: Attempts) -> None:
    """Also of one that waits at the gate, whose turn then comes to nothing."""
    gate, blocker = Gate(at_once=1, young_seconds=_LONG), _Blocker()
    gate.ask(blocker)
    attempt = attempts(gate)
    attempt.speak()
    await _turns()
    attempt.handshake.cancel()
    gate.over(blocker)
    await _turns()
    assert [type(one) for one in attempt.result] == [ConnectionAbortedError]
    assert attempt.handshake._sock.fileno() < 0


async def test_many_that_stop_after_their_first_word_keep_nobody_out(issuer: Issuer, context: ssl.SSLContext) -> None:
    """Three times as many as may be under way at once."""
    lane = Lane(methods(), limits=Limits(hello_seconds=_LONG))
    at = await lane.listen_tcp("127.0.0.1", 0, lambda: context)
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context(cadata=issuer.pem.decode())
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    said = hello.read()
    halves = []
    for _ in range(3 * AT_ONCE):
        _, writer = await asyncio.open_connection("127.0.0.1", at)
        writer.write(said)
        halves.append(writer)
    async with dial(at, issuer.pem) as channel, asyncio.timeout(30):
        assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
    for writer in halves:
        writer.close()
    await lane.close()
    assert not lane._listeners
