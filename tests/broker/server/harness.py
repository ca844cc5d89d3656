"""A real server for tests: in this process, or as the command line starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.config import ServerConfig
from ringfence.broker.server.daemon import Running, system_clock
from ringfence.broker.server.daemon import running_server as _running_server
from ringfence.broker.server.opened import Clock
from ringfence.broker.server.parts import Parts
from ringfence.broker.status import error_of
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

TRUST_DOMAIN = TrustDomain("example.org")


@dataclass(slots=True)
class ServerUnderTest:
    """Where a server is, and an admin client of it."""

    address: str  # HOST:PORT of --listen
    http: str  # HOST:PORT of --http-listen
    data_dir: Path
    admin_socket: Path
    admin: Client
    running: Running | None = None  # its parts, when it lives in this process
    process: asyncio.subprocess.Process | None = None
    on_created: Callable[[pb.Entry], Awaitable[None]] | None = None  # awaited for each entry that is made here

    async def token(self, ttl: int = 600) -> str:
        """A fresh join token."""
        token: str = (await self.admin.GenerateToken(pb.GenerateTokenRequest(ttl=ttl))).token
        return token

    async def create_entry(self, spiffe_id: str, *selectors: str, **fields: Any) -> pb.Entry:
        """A registration entry."""
        entry = pb.Entry(spiffe_id=spiffe_id, selectors=selectors, **fields)
        response = await self.admin.CreateEntries(pb.CreateEntriesRequest(entries=[entry]))
        created: pb.Entry = response.results[0].entry
        if self.on_created is not None:
            await self.on_created(created)
        return created

    async def delete_entry(self, entry_id: str) -> None:
        """Delete it."""
        await self.admin.DeleteEntries(pb.DeleteEntriesRequest(ids=[entry_id]))

    async def apply(self, texts: Mapping[str, str], **fields: Any) -> pb.ApplyPolicyResponse:
        """Apply intent documents by path."""
        documents = [pb.Document(path=path, text=text.encode()) for path, text in texts.items()]
        response: pb.ApplyPolicyResponse = await self.admin.ApplyPolicy(
            pb.ApplyPolicyRequest(documents=documents, **fields)
        )
        return response

    @property
    def parts(self) -> Parts:
        """What it is made of, when it lives in this process."""
        assert self.running is not None
        return self.running.parts

    @property
    def bundle_pem(self) -> bytes:
        """What an operator would hand an agent as --bootstrap-bundle."""
        return (self.data_dir / "bundle.pem").read_bytes()

    async def bundle(self) -> SpiffeBundle:
        """The trust bundle."""
        response = await self.admin.ShowBundle(pb.ShowBundleRequest())
        return SpiffeBundle.parse(TRUST_DOMAIN, response.bundle)


@asynccontextmanager
async def running_server(
    tmp_path: Path,
    *,
    intent: Path | None = None,
    listen: str = "127.0.0.1:0",
    clock: Clock = system_clock,
    **options: Any,
) -> AsyncIterator[ServerUnderTest]:
    """A server in this process, its data in `tmp_path/server`; *options* are fields of ServerConfig."""
    options.setdefault("drain_seconds", 0.2)
    options.setdefault("trust_domain", TRUST_DOMAIN)
    config = ServerConfig(
        data_dir=tmp_path / "server",
        listen=Address.parse(listen, flag="--listen"),
        intent=intent,
        http_listen=Address("127.0.0.1", 0),
        **options,
    )
    async with _running_server(config, clock=clock) as running, _admin(running.admin_socket) as client:
        yield ServerUnderTest(
            address=str(running.listen),
            http=str(running.http),
            data_dir=config.data_dir,
            admin_socket=running.admin_socket,
            admin=client,
            running=running,
        )


@asynccontextmanager
async def server_process(
    tmp_path: Path, *, port: int, http_port: int, intent: Path | None = None, arguments: Sequence[str] = ()
) -> AsyncIterator[ServerUnderTest]:
    """The real command as a child process, ready; it gets SIGTERM at the end unless it is gone by then."""
    data_dir = tmp_path / "server"
    command = [
        *(sys.executable, "-m", "ringfence.broker.cli", "server", "run", "--trust-domain", TRUST_DOMAIN.name),
        *("--data-dir", str(data_dir), "--listen", f"127.0.0.1:{port}", "--http-listen", f"127.0.0.1:{http_port}"),
        *(("--intent", str(intent)) if intent else ()),
        *arguments,
    ]
    with (tmp_path / "server.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log, stdout=log, env=os.environ)
    try:
        async with _admin(data_dir / "admin.sock") as client:
            await _until_ready(client, process)
            yield ServerUnderTest(
                address=f"127.0.0.1:{port}",
                http=f"127.0.0.1:{http_port}",
                data_dir=data_dir,
                admin_socket=data_dir / "admin.sock",
                admin=client,
                process=process,
            )
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def _admin(path: Path) -> AsyncIterator[Client]:
    # A channel of its own pool: grpc would hand out a broken one of an earlier server at the same path.
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50))
    async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
        yield Client(channel, service_of(pb, "Server"))


async def _until_ready(client: Client, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, "the server ended; see server.log"
            try:
                await client.Info(pb.InfoRequest(), wait_for_ready=True, timeout=5)
            except grpc.aio.AioRpcError:
                continue
            return


async def failure(call: Any) -> RingfenceError:
    """What a client of ours would show for a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value, where="socket")
