"""Three real server processes on one real PostgreSQL, agents that know all of them, and a steady load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc.aio

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.certs.svid import parse_svid
from ringfence.proto import workload
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests.broker.agent.harness import HEADER, OWN_UID, agent_process, workload_client
from tests.broker.server.harness import ServerUnderTest, server_process
from tests.ports import free_port

ID = "spiffe://example.org/ns/load/sa/%s"
TTL = 8  # seconds: every SVID is renewed several times while servers die
PATIENCE = 30.0  # seconds; what is waited for takes milliseconds, on a machine that has them to spare


@dataclass(slots=True)
class Place:
    """Where one server is started, again and again."""

    folder: Path
    database: str
    port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    server: ServerUnderTest | None = None
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def address(self) -> str:
        """What agents are told."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> ServerUnderTest:
        """Until it is ready."""
        await asyncio.to_thread(self.folder.mkdir, exist_ok=True)
        arguments = ("--database", self.database)
        running = server_process(self.folder, port=self.port, http_port=self.http_port, arguments=arguments)
        self.server = await self._running.enter_async_context(running)
        return self.server

    async def kill(self) -> None:
        """As a power cut would."""
        assert self.server is not None
        assert self.server.process is not None
        self.server.process.kill()
        self.server = None
        await self._running.aclose()

    async def end(self) -> None:
        """With grace."""
        await self._running.aclose()


@dataclass(slots=True)
class Workload:
    """A process with an open stream, which notes what it holds and anything that it must never see."""

    name: str
    socket: Path
    held: dict[str, bytes] = field(default_factory=dict)  # leaf by SPIFFE ID
    lost: set[str] = field(default_factory=set)  # names that it held and then did not
    renewals: int = 0
    answers: int = 0
    ended: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def entries(self) -> int:
        """How many entries its agent holds."""
        async with grpc.aio.insecure_channel(f"unix:{self.socket}.admin") as channel:
            info = await Client(channel, service_of(pb, "Launcher")).Info(pb.InfoRequest())
            return int(info.entries)

    async def follow(self) -> None:
        """Read the stream; its end is a failure of its own."""
        async with workload_client(self.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
                    self._take(answer)
                self.ended = "OK"
            except grpc.aio.AioRpcError as error:
                self.ended = f"{error.code().name}: {error.details()}"
            self.news.set()

    def _take(self, answer: Any) -> None:
        now = {svid.spiffe_id: svid.x509_svid for svid in answer.svids}
        self.renewals += sum(self.held.get(name, leaf) != leaf for name, leaf in now.items())
        self.lost |= self.held.keys() - now.keys()
        self.held = now
        self.answers += 1
        self.news.set()

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for *what*(), looking at every answer."""
        async with asyncio.timeout(PATIENCE):
            while not what():
                assert not self.ended, f"{self.name}: the stream ended with {self.ended}"
                self.news.clear()
                await self.news.wait()

    def earliest_end(self) -> float:
        """When the first of what it holds ends, in Unix seconds."""
        return min(parse_svid([first_certificate(chain)]).not_after.timestamp() for chain in self.held.values())


def first_certificate(chain: bytes) -> bytes:
    """The leaf of a chain of concatenated DER certificates (each begins with its length in two bytes)."""
    return chain[: 4 + int.from_bytes(chain[2:4], "big")]


@dataclass(slots=True)
class Load:
    """Creates entries, each at another server of those that live, and knows which were acknowledged."""

    places: list[Place]
    acknowledged: dict[str, str] = field(default_factory=dict)  # entry id by name
    unknown: set[str] = field(default_factory=set)  # no answer came: it may have been made or not
    ended: bool = False
    _numbers: count[int] = field(default_factory=count)

    async def run(self) -> None:
        """Until `ended`, as fast as they answer, with a breath in between; then nothing is on its way any more."""
        for number in self._numbers:
            if self.ended:
                return
            living = [place.server for place in self.places if place.server is not None]
            await self.create(living[number % len(living)], f"load{number}", "unix:uid:4294967")
            await asyncio.sleep(0.02)

    async def create(self, server: ServerUnderTest, name: str, selector: str) -> str:
        """One entry; its id, or empty when the server could not answer."""
        entry = pb.Entry(spiffe_id=ID % name, selectors=[selector], x509_ttl=TTL)
        self.unknown.add(name)
        try:
            made = await server.admin.CreateEntries(pb.CreateEntriesRequest(entries=[entry]), timeout=30)
        except grpc.aio.AioRpcError:
            return ""
        except asyncio.CancelledError:  # so a call ends whose channel was closed, too
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return ""
        self.unknown.remove(name)
        self.acknowledged[name] = made.results[0].entry.id
        return self.acknowledged[name]


@asynccontextmanager
async def workloads(folder: Path, places: list[Place], number: int) -> AsyncIterator[list[Workload]]:
    """A workload with an open stream on each of *number* agents, which know all the servers."""
    addresses = ",".join(place.address for place in places)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as streams:
        made, tasks = [], []
        for each in range(number):
            home = folder / f"agent{each}"
            await asyncio.to_thread(home.mkdir)
            server = places[each % len(places)].server
            assert server is not None
            bundle = home / "bootstrap.pem"
            await asyncio.to_thread(bundle.write_bytes, server.bundle_pem)
            told = ("--bootstrap-bundle", str(bundle), "--join-token", await server.token())
            agent = await stack.enter_async_context(agent_process(home, addresses, *told, http_port=free_port()))
            made.append(Workload(f"agent{each}", agent.socket))
            tasks.append(streams.create_task(made[-1].follow()))
        yield made
        for task in tasks:
            task.cancel()


MINE = OWN_UID
