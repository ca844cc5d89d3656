"""A real process becomes another while its stream is open: the stream ends, by the kernel's word or by a look."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringfence.broker.agent import pages
from ringfence.broker.agent.holders import Holders
from ringfence.broker.attest.process_events import ProcessEvents
from ringfence.proto import workload
from tests import parts
from tests.broker.agent.harness import AgentUnderTest, running_agent
from tests.broker.attest.children import Child, child
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.proto.lane.raw import DATA, PREFACE, Raw, headers, message, request_headers, settings
from tests.proto.lane.raw import data as data_frame

ID, OTHER = "spiffe://example.org/ns/a/sa/w", "spiffe://example.org/ns/a/sa/other"
PYTHON = f"unix:path:{os.path.realpath(sys.executable)}"
PATIENCE = 30.0  # seconds; a look takes two at most, on a machine that has them to spare

# Connects, gives the connection to the test as well, and then does what it is told.
HOLDER = """
import os, socket, sys
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
agent.set_inheritable(True)
test = socket.socket(socket.AF_UNIX)
test.connect(sys.argv[2])
socket.send_fds(test, [b"!"], [agent.fileno()])
for line in sys.stdin:
    print("does", flush=True)
    exec(line)
"""
SLEEPS = "os.execv('/bin/sleep', ['sleep', '60'])"
SETS_UID = "os.setresuid(65534, 65534, -1)"
SETS_GID = "os.setresgid(65534, 65534, -1)"
RUNS_AGAIN = "os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(1, flush=True); sys.stdin.read()'])"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server."""
    async with running_server(tmp_path) as running:
        yield running


def _refused() -> ProcessEvents:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["told", "looks"])
async def agent(
    request: pytest.FixtureRequest, tmp_path: Path, server: ServerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AgentUnderTest]:
    """An agent that the kernel tells, and one that has to look."""
    parts.root()
    if request.param == "looks":
        monkeypatch.setattr(Holders.__init__, "__defaults__", (_refused,))
    async with running_agent(tmp_path, server) as running:
        yield running
        assert running.agent is not None
        assert running.agent.watches is not None
        assert running.agent.watches.callers.holders.are_told_of == (request.param == "told")


@asynccontextmanager
async def _holder(agent: AgentUnderTest, tmp_path: Path) -> AsyncIterator[tuple[Child, Raw]]:
    """A child, and the connection that it made, which it holds as we do."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "test.sock"))
        listening.listen()
        listening.setblocking(False)
        async with child(HOLDER, str(agent.socket), str(tmp_path / "test.sock")) as process:
            given, _ = await asyncio.get_running_loop().sock_accept(listening)
            with given:
                given.setblocking(True)
                _, (number,), _, _ = await asyncio.to_thread(socket.recv_fds, given, 1, 1)
            raw = Raw(*await asyncio.open_unix_connection(sock=socket.socket(fileno=number)))
            await raw.send(PREFACE + settings())
            yield process, raw
            await raw.close()


async def _fetch(raw: Raw) -> list[str]:
    """Open FetchX509SVID as stream 1; the identities in its first message."""
    key, value = workload.SECURITY_HEADER
    asked = headers(1, request_headers("/SpiffeWorkloadAPI/FetchX509SVID", (key, value)))
    await raw.send(asked, data_frame(1, message(b""), end=True))
    return await _next(raw)


async def _next(raw: Raw) -> list[str]:
    received = b""
    while len(received) < 5 or len(received) < 5 + int.from_bytes(received[1:5], "big"):
        received += (await raw.until(DATA, 1)).payload
    return [svid.spiffe_id for svid in workload.X509SVIDResponse.FromString(received[5:]).svids]


def test_metrics_say_which_way_is_in_use(agent: AgentUnderTest) -> None:
    """1 while the kernel tells, 0 while they are looked at."""
    assert agent.agent is not None
    watches = agent.agent.watches
    assert watches is not None
    page = pages.routes(lambda: None, lambda: "", lambda: watches)["/metrics"]().body.decode()
    told = float(watches.callers.holders.are_told_of)
    assert f"\nringfence_agent_process_events {told}\n" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("becomes", "why"),
    [(SLEEPS, "runs another program now"), (SETS_UID, "changed its user"), (SETS_GID, "changed its user or group")],
    ids=["another program", "another user", "another group"],
)
async def test_its_stream_ends_although_nothing_is_to_be_sent(
    server: ServerUnderTest, agent: AgentUnderTest, tmp_path: Path, becomes: str, why: str
) -> None:
    """PERMISSION_DENIED within the bound, with nothing else changed: its socket lives on in what it has become."""
    await server.create_entry(ID, PYTHON)
    async with _holder(agent, tmp_path) as (process, raw):
        assert await _fetch(raw) == [ID]
        process.say(becomes)
        assert await process.line() == "does"
        async with asyncio.timeout(PATIENCE):
            _, end = await raw.response(1)
    assert end["grpc-status"] == "7"
    assert why in end["grpc-message"]


@pytest.mark.slow
async def test_the_same_program_again_is_the_same_workload(
    server: ServerUnderTest, agent: AgentUnderTest, tmp_path: Path
) -> None:
    """All that was attested of it is still so: its stream goes on, and the next change comes on it."""
    await server.create_entry(ID, PYTHON)
    async with _holder(agent, tmp_path) as (process, raw):
        assert await _fetch(raw) == [ID]
        process.say(RUNS_AGAIN)
        assert [await process.line(), await process.line()] == ["does", "1"]
        await server.create_entry(OTHER, PYTHON)
        assert sorted(await _next(raw)) == sorted([ID, OTHER])
