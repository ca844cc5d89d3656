"""A range of ports through two real Envoys: each number leads to the same number, by one name and one rule."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from threading import Event, Thread

import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity
from tests.e2e.plane import until
from tests.e2e.sidecars import Sidecars, sidecars
from tests.policy import intent
from tests.ports import free_range

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER, UPSTREAM = "team-a/trainer", "ray.shared/workers"
COUNT = 50
RULES = """
kind: Workload
metadata: {name: ray, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: workers, ports: FIRST-LAST, protocol: tcp}]
---
kind: Allow
metadata: {name: workers, namespace: shared}
spec:
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: ray, port: workers}]
  owner: ml
  reason: test
"""


class Numbered:
    """An application on COUNT ports in a row that says, on each, the number of it to whoever says something."""

    def __init__(self, stack: ExitStack) -> None:
        self._up = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        stack.callback(self._close)
        assert self._up.wait(20)

    async def _main(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as servers:
            self.first = await self._listen(servers)
            self._up.set()
            await self._ended.wait()

    async def _listen(self, servers: AsyncExitStack) -> int:
        numbers = free_range(COUNT)
        for number in numbers:
            await servers.enter_async_context(await asyncio.start_server(self._serve, "127.0.0.1", number))
        return numbers[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while await reader.read(64):
                writer.write(b"%d\n" % writer.get_extra_info("sockname")[1])

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)


class World:
    """A trainer, and a workload that listens on many ports."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.first = Numbered(stack).first
        self.text = intent.joined(
            intent.MESH,
            intent.TRAINER,
            RULES.replace("FIRST", str(self.first)).replace("LAST", str(self.first + COUNT - 1)),
        )
        self.mesh: Sidecars = stack.enter_context(sidecars(folder, self.text))
        self.host, _ = self.mesh.instances[TRAINER].upstream[UPSTREAM]

    def dial(self, number: int) -> socket.socket:
        """To that number at the trainer's own proxy."""
        return socket.create_connection((self.host, number), timeout=20)

    def answer(self, number: int) -> bytes:
        """What is said there; empty when the connection is closed."""
        with self.dial(number) as raw:
            raw.sendall(b"who are you")
            return raw.recv(64).strip()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


def test_every_number_leads_to_the_same_number(world: World):
    """All of them, through one listener on each side; the first and the last too."""
    numbers = range(world.first, world.first + COUNT)
    assert [world.answer(number) for number in numbers] == [b"%d" % number for number in numbers]
    assert world.mesh.plane.nacks == []
    log = world.mesh.plane.log(point="envoy.tcp", connection__result="allowed", authority=str(world.first + 7))
    assert log["ringfence.connection"].startswith("shared/workers@")


@pytest.mark.parametrize("name", ["outside", "22", "", "127.0.0.1", "A"])
def test_a_caller_that_names_another_port_reaches_nothing(world: World, name: str):
    """The number goes along as the SNI: one that is not declared is no port of this listener, whoever asks."""
    identity = world.mesh.domain.issue(world.mesh.model.workloads[TRAINER].spiffe_id)
    sni = str(world.first + COUNT) if name == "outside" else name
    at = world.mesh.instances["shared/ray"].inbound["workers"]
    context = identity.client(world.mesh.folder)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _reach(context, at, sni)


def _reach(context: ssl.SSLContext, at: tuple[str, int], sni: str) -> bytes:
    """What is answered under that SNI; empty when it is closed after a handshake."""
    with (
        socket.create_connection(at, timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=sni or None) as connection,
    ):
        connection.sendall(b"who are you")
        return connection.recv(64)


def test_strangers_are_refused_at_every_number(world: World):
    """One rule for all of them: another identity gets nothing from any."""
    stranger = world.mesh.domain.issue(world.mesh.model.workloads["shared/ray"].spiffe_id)
    at = world.mesh.instances["shared/ray"].inbound["workers"]
    for number in (world.first, world.first + COUNT - 1):
        assert _reach(stranger.client(world.mesh.folder), at, str(number)) == b""


def test_a_revocation_ends_the_connections_of_a_range(world: World):
    """As of any port."""
    with world.dial(world.first + 1) as raw:
        raw.sendall(b"a")
        assert raw.recv(64)
        spiffe_id = str(world.mesh.model.workloads[TRAINER].spiffe_id)
        try:
            world.mesh.apply(world.text, Revocations.of((), [RevokedIdentity(spiffe_id, 5, "stolen", "test")]))
            assert raw.recv(64) == b""
        finally:
            world.mesh.apply(world.text)
    until(lambda: world.answer(world.first) == b"%d" % world.first, "the caller to be let in again")
