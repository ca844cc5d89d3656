"""A real Envoy, our agent's memory of its connections, and the kernel: one caller's connections are cut, no others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.broker.agent.connection_logs import connection_logs
from ringfence.broker.agent.connections import TOLD_WITHIN, Connections
from ringfence.broker.agent.inet_diag import InetDiag
from tests import parts
from tests.e2e.mesh import Mesh, model_of, running_mesh, until
from tests.e2e.test_fleet_revoked import DRAIN, RULES, TRAINER, echo, revoked
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

ROUNDS = 20  # one of them is to be within the bound, on a machine that others use too
BOUND = 0.1  # seconds from a revocation to the end of the connection
EVALUATOR = "kind: Workload\nmetadata: {name: evaluator, namespace: team-a}\nspec: {match: [{unix.uid: 1004}]}\n"


class Client:
    """A connection to the database's port, with an SVID and no proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def lives(self) -> bool:
        """Whether what is sent comes back."""
        self.writer.write(b"rows")
        async with asyncio.timeout(30):
            return await self.reader.read(64) == b"rows"

    async def is_let_in(self) -> bool:
        """Whether it is, at last."""
        try:
            return await self.lives()
        except ConnectionError:
            return False

    async def ends(self) -> float:
        """Wait for its end; when that was."""
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                assert await self.reader.read(64) == b""
        return time.monotonic()


@dataclass
class World:
    """A registry's proxy whose agent, but for its secrets, is `connections`."""

    mesh: Mesh
    text: str
    port: int
    connections: Connections
    revoked: dict[str, object]

    async def connect(self, name: str) -> Client:
        """With an SVID of that workload in team-a, as soon as the listener is there."""
        context = self.mesh.client(f"/ns/team-a/sa/{name}")
        while True:
            try:
                opened = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname="mesh")
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            return Client(*opened)

    def revoke(self) -> float:
        """The trainer, at the agent; when that was."""
        self.revoked[TRAINER] = "left"
        self.connections.look_again()
        return time.monotonic()

    async def told(self, name: str, count: int) -> None:
        """Until the proxy has told the agent of so many connections."""
        await until(lambda: _told(self.connections, name) == count)


@asynccontextmanager
async def world(folder: Path, *, cuts: bool) -> AsyncIterator[World]:
    """*cuts*: the proxy relies on the agent, and does not drain."""
    with InetDiag() as kernel:
        if why := kernel.why_not():
            parts.missing("leave to destroy sockets", f"run as root on a kernel with INET_DIAG_DESTROY: {why}")
    revoked: dict[str, object] = {}
    connections = Connections(lambda: revoked)
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        stack.callback(server.close)
        text = intent.joined(intent.MESH, intent.TRAINER, EVALUATOR, RULES)
        text = text.replace("from: [{workload: trainer}]", "from: [{namespace: team-a}]")
        text = text.replace("port: TCP", f"port: {server.sockets[0].getsockname()[1]}")
        text = text.replace("port: HTTP", f"port: {free_port()}").replace("port: RPC", f"port: {free_port()}")
        mesh = await stack.enter_async_context(running_mesh(folder, text, agent=connection_logs(connections)))
        cutting = asyncio.create_task(connections.run())
        stack.callback(cutting.cancel)
        port = free_port()
        if cuts:
            stack.enter_context(connections.guard(os.getuid(), [("127.0.0.1", port)]))
        await mesh.envoy("shared/registry", inbound={"db": port}, cut=frozenset({"db"} if cuts else ()))
        yield World(mesh, text, port, connections, revoked)


async def test_the_connections_of_one_caller_are_cut_and_its_neighbours_live_on(tmp_path: Path) -> None:
    """Within 100 ms, by what the proxy told the agent; the server need not even know."""
    async with world(tmp_path, cuts=False) as here:
        neighbour = await here.connect("evaluator")
        assert await neighbour.lives()
        took = []
        for _ in range(ROUNDS):
            gone = [await here.connect("trainer") for _ in range(3)]
            assert all([await client.lives() for client in gone])
            await here.told("trainer", 3)
            began = here.revoke()
            took.append(max(await asyncio.gather(*(client.ends() for client in gone))) - began)
            here.revoked.clear()
            assert await neighbour.lives()
            if took[-1] < BOUND:
                break
    assert min(took) < BOUND, took


async def test_a_proxy_whose_agent_cuts_does_not_drain_for_a_revocation(tmp_path: Path) -> None:
    """Server, proxy and agent together: who is revoked is cut and refused, the neighbour lives on past any drain."""
    async with world(tmp_path, cuts=True) as here:
        gone, neighbour = await here.connect("trainer"), await here.connect("evaluator")
        assert await gone.lives()
        assert await neighbour.lives()
        await here.told("trainer", 1)
        await here.told("evaluator", 1)
        here.mesh.fleet.revoke(revoked(TRAINER))
        began = here.revoke()
        await gone.ends()
        async with asyncio.timeout(20):
            while await (await here.connect("trainer")).is_let_in():
                continue
        await asyncio.sleep(max(0.0, began + TOLD_WITHIN + DRAIN - time.monotonic()))  # any drain would be over
        assert await neighbour.lives()

        # A rule that changes ends what is open as ever.
        here.mesh.fleet.apply(model_of(here.text.replace("reason: base model", "reason: base model\n  mode: shadow")))
        await neighbour.ends()


async def test_what_a_proxy_has_not_told_is_cut_with_those_that_are_revoked(tmp_path: Path) -> None:
    """After an agent's restart nobody knows whose the open connections are."""
    async with world(tmp_path, cuts=True) as here:
        unknown, neighbour = await here.connect("trainer"), await here.connect("evaluator")
        assert await unknown.lives()
        await here.told("trainer", 1)
        here.connections._told.clear()
        assert await neighbour.lives()
        await here.told("evaluator", 1)
        here.mesh.fleet.revoke(revoked(TRAINER))
        here.revoke()
        await unknown.ends()
        assert await neighbour.lives()


def _told(connections: Connections, name: str) -> int:
    return sum(one.peer.endswith(f"/sa/{name}") for held in connections._told.values() for one in held.values())
