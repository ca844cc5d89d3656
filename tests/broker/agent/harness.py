"""A real agent for tests, in this process or as the command line starts it, and clients of its socket."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Clock, utc_now
from ringfence.broker.agent.config import AgentConfig
from ringfence.broker.agent.daemon import Agent
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.proto import workload
from ringfence.proto.client import Client
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest

HEADER = (workload.SECURITY_HEADER,)
OWN_UID = f"unix:uid:{os.geteuid()}"


@dataclass(slots=True)
class AgentUnderTest:
    """Where an agent is."""

    socket: Path
    data_dir: Path
    agent: Agent | None = None
    process: asyncio.subprocess.Process | None = None

    def hold_for(self, seconds: float) -> None:
        """Hold who has no identity for so long from now on: short only where a refusal is what comes next."""
        assert self.agent is not None
        assert self.agent.watches is not None
        self.agent.watches.hold = seconds


def config(tmp_path: Path, address: str, token: str = "", **fields: Any) -> AgentConfig:
    """What an agent in `tmp_path/agent` is told."""
    fields.setdefault("hold", 20.0)
    fields.setdefault("trust_domain", TRUST_DOMAIN)
    return AgentConfig(
        server=Address.parse(address, flag="--server"),
        data_dir=tmp_path / "agent",
        socket=tmp_path / "agent.sock",
        join_token=token,
        **fields,
    )


@asynccontextmanager
async def running_agent(
    tmp_path: Path,
    server: ServerUnderTest | None,
    *,
    address: str = "",
    joined: bool = False,
    folders: LaunchFolders | None = None,
    clock: Clock = utc_now,
    **fields: Any,
) -> AsyncIterator[AgentUnderTest]:
    """An agent in this process, ready; *joined*: it has its state from before and needs no token."""
    token = await server.token() if server is not None and not joined else ""
    if server is not None and not joined:
        bootstrap = await asyncio.to_thread(_write_bundle, tmp_path, server)
        fields.setdefault("bootstrap_bundle", bootstrap)
    told = config(tmp_path, address or (server.address if server else ""), token, **fields)
    agent = Agent(told, clock=clock, folders=folders)
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    try:
        async with asyncio.timeout(20):
            while not agent.ready:
                if running.done():
                    running.result()
                await asyncio.sleep(0.01)
        yield AgentUnderTest(tmp_path / "agent.sock", tmp_path / "agent", agent)
    finally:
        stop.set()
        await running


def wait_for_entries(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """From now on `create_entry` returns when *agent* knows the entry: what comes next is not to race with the push."""

    async def known(entry: Any) -> None:
        assert agent.agent is not None
        cache = agent.agent._cache
        assert cache is not None
        async with asyncio.timeout(30):
            while cache.book.get(entry.id) is None:  # noqa: ASYNC110  # it tells streams only
                await asyncio.sleep(0.005)

    server.on_created = known


def _write_bundle(tmp_path: Path, server: ServerUnderTest) -> Path:
    path = tmp_path / "bootstrap.pem"
    path.write_bytes(server.bundle_pem)
    return path


@asynccontextmanager
async def agent_process(
    tmp_path: Path, address: str, *arguments: str, http_port: int, prefix: Sequence[str] = ()
) -> AsyncIterator[AgentUnderTest]:
    """The real command as a child process, ready; it gets SIGTERM at the end unless it is gone by then."""
    command = [
        *prefix,
        *(sys.executable, "-m", "ringfence.broker.cli", "agent", "run", "--server", address),
        *("--trust-domain", TRUST_DOMAIN.name, "--data-dir", str(tmp_path / "agent")),
        *("--socket", str(tmp_path / "agent.sock"), "--http-listen", f"127.0.0.1:{http_port}"),
        *arguments,
    ]
    with (tmp_path / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log, stdout=log)
    try:
        async with asyncio.timeout(30):
            while not await is_ready(http_port):
                assert process.returncode is None, (tmp_path / "agent.log").read_text()
                await asyncio.sleep(0.02)
        yield AgentUnderTest(tmp_path / "agent.sock", tmp_path / "agent", process=process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def is_ready(port: int) -> bool:
    """Whether /ready on that port says 200."""
    return (await page(port, "/ready")).startswith("HTTP/1.1 200")


async def page(port: int, path: str) -> str:
    """The whole answer to GET *path*, empty when nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@asynccontextmanager
async def workload_client(socket: Path) -> AsyncIterator[Client]:
    """A grpcio client of the Workload API with a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield Client(channel, workload.DESCRIPTOR)


async def first_svids(socket: Path, *, timeout: float = 30) -> Any:  # noqa: ASYNC109  # the gRPC deadline
    """The first X509SVIDResponse of a fresh connection."""
    async with workload_client(socket) as client:
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=timeout)
        answer = await call.read()
        call.cancel()
        return answer


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """How *call* ended."""
    try:
        while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


def python(*arguments: str) -> Sequence[str]:
    """The command of a child Python."""
    return (sys.executable, *arguments)
