"""What tests of the writer share: a world with one identity, a job, the daemon in this process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ringfence.broker.svidfiles.notify import Hook
from ringfence.broker.svidfiles.wanted import Access, Wanted
from ringfence.broker.svidfiles.writer import Job, Writer
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent
from tests.broker.server.harness import ServerUnderTest, running_server

ID = "spiffe://example.org/ns/a/sa/w"
SOON = 14  # seconds; certificates begin 10 s before they are issued, so this one is renewed after 2 s


@asynccontextmanager
async def world(tmp_path: Path, **entry: Any) -> AsyncIterator[tuple[ServerUnderTest, AgentUnderTest]]:
    """A server, its agent, and one identity for this user."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID, dns_names=["localhost"], **entry)
        yield server, agent


def job(tmp_path: Path, hook: Hook | None = None, **wanted: Any) -> Job:
    """Files in `tmp_path/files`."""
    return Job(str(tmp_path / "agent.sock"), tmp_path / "files", Wanted(**wanted), Access(), hook or Hook())


@asynccontextmanager
async def writing(the_job: Job) -> AsyncIterator[None]:
    """The daemon in this process."""
    task = asyncio.create_task(Writer(the_job, draw=lambda: 0.5).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(happened: Callable[[], Any]) -> Any:
    """Wait for a true answer; a file that is not there is none."""
    async with asyncio.timeout(30):
        while True:
            with suppress(FileNotFoundError):
                if found := await asyncio.to_thread(happened):
                    return found
            await asyncio.sleep(0.01)


def load(folder: Path) -> ssl.SSLContext:
    """What OpenSSL makes of the files: it refuses a key that does not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "svid.pem", folder / "key.pem")
    context.load_verify_locations(folder / "bundle.pem")
    return context
