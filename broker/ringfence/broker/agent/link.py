"""The agent's one stream to the server: questions and their answers, and what the server pushes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent import events
from ringfence.broker.agent.dial import Connection, Dialler
from ringfence.broker.agent.enrol import refusal
from ringfence.broker.agent.ring import Ring
from ringfence.broker.agent.sink import Sink
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

MAX_BATCH = 500  # SVIDs asked for in one message
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 15.0  # seconds between tries to connect, before jitter
_STEADY = 30.0  # a stream that lived so long starts the pauses anew
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_REFUSED = frozenset({Kind.UNAUTHENTICATED, Kind.DENIED})
_LOST = "the server is not connected"


class Link:
    """Keeps the stream up for ever, with jittered pauses; `connected` is set while it is."""

    def __init__(
        self, dialler: Dialler, sink: Sink, *, ring: Ring | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        self.connected = asyncio.Event()
        self.refused = asyncio.Event()  # the server does not know us, or we not it; set until it says something
        self.last_failure: RingfenceError | None = None
        self.on_connected: Callable[[], None] = lambda: None  # called each time that a stream stands
        self.denied: RingfenceError | None = None  # by a server that knows us; until one says something else
        self._dialler = dialler
        self._sink = sink
        self._ring = ring or Ring([dialler.address])
        self._refusers: set[Address] = set()
        self._away: set[Address] = set()
        self._draw = draw
        self._retry = asyncio.Event()
        self._afresh = False
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1
        self._outgoing: asyncio.Queue[agent_pb2.AgentMessage] = asyncio.Queue()
        self._pieces = agent_pb2.EntriesUpdate()  # of a long update, until its last piece comes

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            started = loop.time()
            try:
                await self._serve_once()
            except RingfenceError as error:
                self.last_failure = error
                self.denied = error if error.kind is Kind.DENIED else self.denied
                self._note(error)
                events.link_lost(error)
            if loop.time() - started > _STEADY:
                pause = _FIRST_PAUSE
            # Full jitter: agents that lost one server together do not come back together, nor to the next one.
            tried_all = self._ring.move_on()
            if await self._told_within(pause * (0.5 + self._draw())):
                pause = _FIRST_PAUSE
            elif tried_all:
                pause = min(pause * 2, _LONGEST_PAUSE)

    def rejoined(self) -> None:
        """The node attested anew: connect now, and ask for everything, since its entries may be others."""
        self.refused.clear()
        self.denied = None
        self._afresh = True
        self._retry.set()

    async def request_svids(self, items: Sequence[agent_pb2.SvidItem]) -> Sequence[agent_pb2.SvidResult]:
        """Ask for a batch; raises UNAVAILABLE when the stream is lost before the answer."""
        async with self._question() as (number, answer):
            self._send(agent_pb2.AgentMessage(svids=agent_pb2.SvidRequest(id=number, items=items)))
            response: agent_pb2.SvidResponse = await answer
            return response.results

    async def request_jwt(self, entry_id: str, audience: Sequence[str]) -> agent_pb2.JwtResponse:
        """Ask for one JWT-SVID; raises UNAVAILABLE when the stream is lost before the answer."""
        async with self._question() as (number, answer):
            question = agent_pb2.JwtRequest(id=number, entry_id=entry_id, audience=audience)
            self._send(agent_pb2.AgentMessage(jwt=question))
            response: agent_pb2.JwtResponse = await answer
            return response

    async def request_wit(self, entry_id: str, csr: bytes) -> agent_pb2.WitResponse:
        """Ask for one WIT-SVID; raises UNAVAILABLE when the stream is lost before the answer."""
        async with self._question() as (number, answer):
            question = agent_pb2.WitRequest(id=number, entry_id=entry_id, csr=csr)
            self._send(agent_pb2.AgentMessage(wit=question))
            response: agent_pb2.WitResponse = await answer
            return response

    async def renew(self, csr: bytes) -> agent_pb2.RenewResponse:
        """Ask for a new SVID of the agent itself; raises UNAVAILABLE when the stream is lost before the answer."""
        async with self._question() as (number, answer):
            self._send(agent_pb2.AgentMessage(renew=agent_pb2.RenewRequest(id=number, csr=csr)))
            response: agent_pb2.RenewResponse = await answer
            return response

    def unknown_key(self, trust_domain: str, key_id: str) -> bool:
        """Have the server look for a key that no bundle here has; whether it could be told. Its answer is a push."""
        if self.connected.is_set():
            asked = agent_pb2.UnknownKey(trust_domain=trust_domain, key_id=key_id)
            self._send(agent_pb2.AgentMessage(unknown_key=asked))
        return self.connected.is_set()

    def tell(self, message: agent_pb2.AgentMessage) -> bool:
        """Send what is not answered; whether the stream stands that it goes out on."""
        if self.connected.is_set():
            self._send(message)
        return self.connected.is_set()

    def _note(self, error: RingfenceError) -> None:
        # What one server says counts when no other says anything else: it may not have heard of us yet.
        (self._refusers if error.kind in _REFUSED else self._away).add(self._ring.address)
        if self._refusers and self._refusers | self._away >= set(self._ring.every):
            self.refused.set()

    async def _told_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._retry.wait()
        except TimeoutError:
            return False
        self._retry.clear()
        return True

    @asynccontextmanager
    async def _question(self) -> AsyncIterator[tuple[int, asyncio.Future[Any]]]:
        if not self.connected.is_set():
            raise RingfenceError(Kind.UNAVAILABLE, _LOST)
        number = self._next_id
        self._next_id += 1
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            yield number, answer
        finally:
            self._calls.pop(number, None)
            answer.cancel()

    def _send(self, message: agent_pb2.AgentMessage) -> None:
        self._outgoing.put_nowait(message)

    async def _serve_once(self) -> None:
        self._dialler.address, self._dialler.hasty = self._ring.address, len(self._ring) > 1
        connection = await self._dialler.dial()
        self._outgoing = asyncio.Queue()
        self._pieces = agent_pb2.EntriesUpdate()
        call = Client(connection.channel, service_of(agent_pb2, "Agent")).Connect()
        sender = asyncio.create_task(self._write(call))
        reader = asyncio.create_task(self._read(call))
        try:
            await reader
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from error
        finally:
            self.connected.clear()
            await _end(call, connection, sender, reader)
            self._fail_questions()

    async def _write(self, call: Any) -> None:
        hello = self._sink.hello()
        if self._afresh:
            hello.revision = 0
        await call.write(agent_pb2.AgentMessage(hello=hello))
        self.connected.set()
        events.link_up(self._dialler.address)
        self.on_connected()
        while True:
            await call.write(await self._outgoing.get())

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not _EOF:
            self._dispatch(message)
            self.last_failure = self.denied = None
            self._refusers.clear()
            self._away.clear()
            self.refused.clear()
            self._ring.stay()
        raise RingfenceError(Kind.UNAVAILABLE, "the server ended the stream", where=str(self._dialler.address))

    def _dispatch(self, message: agent_pb2.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "entries":
                self._on_entries(message.entries)
            case "bundle":
                self._sink.on_bundle(message.bundle)
            case "revocations":
                self._sink.on_revocations(message.revocations)
            case "revoked":
                self._sink.on_revoked(message.revoked)
            case "rotate":
                self._sink.on_rotate(message.rotate)
            case "fabrics":
                self._sink.on_fabrics(message.fabrics)
            case "svids" | "jwt" | "wit" | "renew" as answer:
                self._answer(getattr(message, answer))
            case _:
                pass  # a newer server says more than we know

    def _on_entries(self, piece: agent_pb2.EntriesUpdate) -> None:
        """Hand on a long update whole, once its last piece names the revision.

        The first piece of a full one would have what stands in the others forgotten, and its streams ended.
        """
        self._pieces.MergeFrom(piece)
        if piece.upserts and not piece.revision:  # a server without any revision has no entries either
            return
        update, self._pieces = self._pieces, agent_pb2.EntriesUpdate()
        self._sink.on_entries(update)
        self._afresh = self._afresh and not update.full

    def _answer(self, response: Any) -> None:
        future = self._calls.get(response.id)
        if future is not None and not future.done():
            future.set_result(response)

    def _fail_questions(self) -> None:
        for future in self._calls.values():
            if not future.done():
                future.set_exception(RingfenceError(Kind.UNAVAILABLE, _LOST))

    def _lost(self, error: grpc.aio.AioRpcError) -> RingfenceError:
        if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
            return refusal(error, self._dialler.address)
        return RingfenceError(
            Kind.UNAVAILABLE, f"the stream was lost: {error.details()}", where=str(self._dialler.address)
        )


async def _end(call: Any, connection: Connection, *tasks: asyncio.Task[Any]) -> None:
    call.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await connection.close()
