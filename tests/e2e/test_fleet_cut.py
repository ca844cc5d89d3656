"""A real Envoy, our agent's memory of its connections, and the kernel: one caller's connections are cut, no others."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from ringfence.broker.agent.connection_logs import connection_logs
from ringfence.broker.agent.connections import Connections
from ringfence.broker.agent.inet_diag import InetDiag
from tests import parts
from tests.e2e.mesh import running_mesh, until
from tests.e2e.test_fleet_revoked import RULES, echo
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

ROUNDS = 5
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
        async with asyncio.timeout(10):
            return await self.reader.read(64) == b"rows"

    async def ends(self) -> float:
        """Wait for its end; when that was."""
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await self.reader.read(64) == b""
        return time.monotonic()


async def test_the_connections_of_one_caller_are_cut_and_its_neighbours_live_on(tmp_path: Path) -> None:
    """Within 100 ms, by what the proxy told the agent; the server need not even know."""
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
        for name in ("HTTP", "RPC", "TCP"):
            text = text.replace(
                f"port: {name}", f"port: {server.sockets[0].getsockname()[1] if name == 'TCP' else free_port()}"
            )
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text, agent=connection_logs(connections)))
        cutting = asyncio.create_task(connections.run())
        stack.callback(cutting.cancel)
        port = free_port()
        await mesh.envoy("shared/registry", inbound={"db": port})

        async def connect(name: str) -> Client:
            context = mesh.client(f"/ns/team-a/sa/{name}")
            while True:
                try:
                    return Client(
                        *await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="mesh")
                    )
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)

        neighbour = await connect("evaluator")
        assert await neighbour.lives()
        took = []
        for _ in range(ROUNDS):
            gone = [await connect("trainer") for _ in range(3)]
            assert all([await client.lives() for client in gone])
            await until(lambda: _told(connections, "trainer") == 3)  # Envoy tells within a moment
            began = time.monotonic()
            revoked["spiffe://example.test/ns/team-a/sa/trainer"] = "left"
            connections.look_again()
            took += [at - began for at in await asyncio.gather(*(client.ends() for client in gone))]
            revoked.clear()
            assert await neighbour.lives()
    assert statistics.median(took) < BOUND, took


def _told(connections: Connections, name: str) -> int:
    return sum(one.peer.endswith(f"/sa/{name}") for held in connections._told.values() for one in held.values())
