"""Two real Envoys under our fleet when one of their workloads is revoked: what is open ends, at both of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity
from tests.e2e.mesh import Envoy, Http, Mesh, running_mesh, until
from tests.e2e.test_fleet_envoy import connected, synced
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER, REGISTRY = "spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/ns/shared/sa/registry"
DRAIN = 5.0  # seconds by which a drain is over: `--drain-time-s 1`, and Envoy's own steps
PATIENCE = 30.0  # seconds until a test gives up
RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves:
  - {name: http, port: HTTP, protocol: http}
  - {name: rpc, port: RPC, protocol: grpc}
  - {name: db, port: TCP, protocol: tcp}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to:
  - {workload: registry, namespace: shared, port: http}
  - {workload: registry, namespace: shared, port: rpc}
  - {workload: registry, namespace: shared, port: db}
  owner: ml
  reason: base model
"""
WATCH = "/test.Watch/Watch"
PORTS = ("http", "rpc", "db")


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web application with one response that never ends, at /stream, and a short one everywhere else."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b" /stream " not in head:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await reader.read()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes."""
    try:
        while data := await reader.read(64):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


async def watch(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
    """A gRPC stream that sends once and then waits for good."""
    yield b"first"
    await asyncio.get_running_loop().create_future()


async def serving(stack: AsyncExitStack) -> str:
    """The intent, with the ports of what the registry serves behind its proxy."""
    text = intent.joined(intent.MESH, intent.TRAINER, RULES)
    for name, serve in (("HTTP", endless), ("TCP", echo)):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        stack.callback(server.close)
        text = text.replace(f"port: {name}", f"port: {server.sockets[0].getsockname()[1]}")
    handler = grpc.unary_stream_rpc_method_handler(watch)  # type: ignore[arg-type]  # typed for threads only
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Watch", {"Watch": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, 0)
    return text.replace("port: RPC", f"port: {port}")


@dataclass
class Open:
    """What the trainer has open through its own proxy, and past it with its SVID."""

    short: Http
    direct: Http
    streams: tuple[asyncio.StreamReader, ...]
    rpc: grpc.aio.UnaryStreamCall[bytes, bytes]

    async def ends(self) -> None:
        """Wait until all that streams has ended, as the drain brings about; raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            for reader in self.streams:
                try:
                    await reader.read()
                except ConnectionError:
                    continue
            assert await self.rpc.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}


@dataclass
class World:
    """A mesh with both proxies."""

    mesh: Mesh
    registry: Envoy
    trainer: Envoy
    stack: AsyncExitStack

    async def open_all(self) -> Open:
        """Have something open of every kind."""
        http = self.trainer.upstream["registry.shared/http"]
        (await connected(http)).close()
        context = self.mesh.client("/ns/team-a/sa/trainer")
        past = {"ssl": context, "server_hostname": "mesh"}
        streams = [
            await self._first(http, _STREAM),
            await self._first(self.registry.inbound["http"], _STREAM, **past),
            await self._first(self.trainer.upstream[_DB], b"first"),
            await self._first(self.registry.inbound["db"], b"first", **past),
        ]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.trainer.upstream[_RPC]}")
        self.stack.push_async_callback(channel.close)
        rpc = channel.unary_stream(WATCH)(b"")
        assert await rpc.read() == b"first"
        short, direct = await Http.connect(http), await Http.connect(self.registry.inbound["http"], context)
        self.stack.callback(short.close)
        self.stack.callback(direct.close)
        assert await short.get() == await direct.get() == 200
        return Open(short, direct, tuple(streams), rpc)

    async def _first(self, port: int, ask: bytes, **tls: Any) -> asyncio.StreamReader:
        """Something that goes on, after its first bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
        self.stack.callback(writer.close)
        writer.write(ask)
        await reader.readuntil(b"first")
        return reader


_STREAM = b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n"
_DB, _RPC = "registry.shared/db", "registry.shared/rpc"


@asynccontextmanager
async def world(folder: Path, *, sotw: bool) -> AsyncIterator[World]:
    """Both proxies, in step with the server, and a call that went through them."""
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running_mesh(folder, await serving(stack)))
        inbound = {name: free_port() for name in PORTS}
        upstream = {f"registry.shared/{name}": free_port() for name in PORTS}
        registry = await mesh.envoy("shared/registry", inbound=inbound, state_of_the_world=sotw)
        trainer = await mesh.envoy("team-a/trainer", upstream=upstream, state_of_the_world=sotw)
        await until(lambda: len(mesh.fleet) == 2)
        await synced(mesh)
        for port in upstream.values():
            (await connected(port)).close()
        await served(upstream["registry.shared/http"])
        yield World(mesh, registry, trainer, stack)


async def served(port: int) -> None:
    """Until a GET there is answered with 200."""
    async with asyncio.timeout(20):
        while True:
            try:
                with closing(await Http.connect(port)) as http:
                    if await http.get() == 200:
                        return
            except (OSError, EOFError):
                pass
            await asyncio.sleep(0.02)


async def refusal(http: Http) -> int:
    """The first answer on an open connection that is none of 200; 0: it was closed."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        try:
            status = await http.get()
        except (OSError, EOFError):
            status = 0
        if status != 200:
            break
    return status


def revoked(name: str) -> Revocations:
    """That identity is."""
    return Revocations.of((), [RevokedIdentity(name, int(time.time()), "left", "alice")])


variants = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


@variants
async def test_a_revoked_caller_is_refused_at_once_and_all_that_it_has_open_ends(tmp_path: Path, *, sotw: bool) -> None:
    """By the server's proxy, whatever the caller's own one does; that one is told to let go of everything."""
    async with world(tmp_path, sotw=sotw) as here:
        held = await here.open_all()
        assert here.mesh.fleet.revoke(revoked(TRAINER)) == 2
        assert await refusal(held.direct) in {403, 0}  # 0: the answer before said that it is closed after it
        past = await Http.connect(here.registry.inbound["http"], here.mesh.client("/ns/team-a/sa/trainer"))
        with closing(past):
            assert await past.get() == 403
        await held.ends()
        async with asyncio.timeout(PATIENCE):
            while (await here.trainer.stats())["listener_manager.total_listeners_active"]:  # noqa: ASYNC110  # Envoy tells nobody
                await asyncio.sleep(0.02)
        assert [row.spiffe_id for row in here.mesh.fleet.list_proxies()] == [REGISTRY], "it is not let in again"

        here.mesh.fleet.revoke(Revocations())
        await served(here.trainer.upstream["registry.shared/http"])


@variants
async def test_a_proxy_that_was_away_when_it_was_revoked_lets_go_of_everything_on_its_return(
    tmp_path: Path, *, sotw: bool
) -> None:
    """It is told once more that nothing is its, and then refused; back in the mesh it is served again."""
    async with world(tmp_path, sotw=sotw) as here:
        held = await here.open_all()
        await here.mesh.lane.close()
        await until(lambda: len(here.mesh.fleet) == 0)
        here.mesh.fleet.revoke(revoked(REGISTRY))
        assert (await here.registry.stats())["listener_manager.total_listeners_active"] == len(PORTS)
        await here.mesh.listen()
        async with asyncio.timeout(PATIENCE):
            while (await here.registry.stats())["listener_manager.total_listeners_active"]:  # noqa: ASYNC110  # Envoy tells nobody
                await asyncio.sleep(0.02)
        await held.ends()
        assert REGISTRY not in [row.spiffe_id for row in here.mesh.fleet.list_proxies()]

        here.mesh.fleet.revoke(Revocations())
        await served(here.trainer.upstream["registry.shared/http"])


@variants
async def test_a_revoked_server_is_called_no_more_and_all_that_is_open_ends(tmp_path: Path, *, sotw: bool) -> None:
    """Its callers' proxies answer 503 for it and have no cluster; it is served again once that is lifted."""
    async with world(tmp_path, sotw=sotw) as here:
        held = await here.open_all()
        assert here.mesh.fleet.revoke(revoked(REGISTRY)) == 2
        assert await refusal(held.short) != 200
        await held.ends()
        await synced(here.mesh)
        with closing(await Http.connect(here.trainer.upstream["registry.shared/http"])) as fresh:
            assert await fresh.get() == 503
        reader, writer = await asyncio.open_connection("127.0.0.1", here.trainer.upstream[_DB])
        assert await reader.read() == b""
        writer.close()
        stats = await here.trainer.stats()
        assert stats["cluster_manager.active_clusters"] == 2, "the server's and the agent's, no other"

        here.mesh.fleet.revoke(Revocations())
        await served(here.trainer.upstream["registry.shared/http"])
