"""SPIFFE_Workload_Endpoint.md by the numbers of lines.toml (1.5): the socket of a real agent."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ringfence.broker.agent.fetching import endpoint
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto import reflection, workload
from ringfence.proto.client import Client
from tests.broker.agent.harness import (
    HEADER,
    OWN_UID,
    AgentUnderTest,
    agent_process,
    first_svids,
    running_agent,
    status_of,
    workload_client,
)
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import ServerUnderTest
from tests.ports import free_port

ID = "spiffe://example.org/ns/a/sa/w"


def _listeners(pid: int) -> set[int]:
    """The TCP ports on which a process listens."""
    sockets: set[str] = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(str(fd.readlink()))
    tables = [Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


async def test_1_5_1_it_is_a_unix_socket_and_nothing_else(tmp_path: Path, server: ServerUnderTest) -> None:
    """There it answers; of TCP ports the agent's process has the one for its health alone."""
    await server.create_entry(ID, OWN_UID)
    join = ("--join-token", await server.token(), "--bootstrap-bundle", str(server.data_dir / "bundle.pem"))
    port = free_port()
    async with agent_process(tmp_path, server.address, *join, http_port=port) as agent:
        assert agent.process is not None
        assert stat.S_ISSOCK((await asyncio.to_thread(agent.socket.stat)).st_mode)
        assert (await first_svids(agent.socket)).svids
        assert await asyncio.to_thread(_listeners, agent.process.pid) == {port}


async def test_1_5_3_tls_is_not_asked_for(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """A workload that knows no root yet is served: the first bytes on the socket are plain HTTP/2."""
    await server.create_entry(ID, OWN_UID)
    reader, writer = await asyncio.open_unix_connection(agent.socket)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    settings = await reader.readexactly(9)
    writer.close()
    assert settings[3] == 4  # a SETTINGS frame
    assert (await first_svids(agent.socket)).svids


async def test_1_5_4_a_client_falls_back_to_the_variable(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Ours do without being told of the socket; an explicit one comes first."""
    await server.create_entry(ID, OWN_UID)
    fetch = ("svid", "fetch", "x509")
    by_variable = await ringfence(*fetch, SPIFFE_ENDPOINT_SOCKET=f"unix://{agent.socket}")
    assert (by_variable.code, ID in by_variable.out) == (0, True)
    assert (await ringfence(*fetch, SPIFFE_ENDPOINT_SOCKET="unix:///nowhere")).code != 0
    told = await ringfence(*fetch, "--socket", agent.socket, SPIFFE_ENDPOINT_SOCKET="unix:///nowhere")
    assert (told.code, ID in told.out) == (0, True)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("unix:///run/a.sock", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("tcp://127.0.0.1:8000", "127.0.0.1:8000"),
        ("tcp://[::1]:8000", "[::1]:8000"),
    ],
)
def test_1_5_4_a_socket_or_an_address_is_understood(text: str, target: str) -> None:
    """As what gRPC dials."""
    assert endpoint(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix:a.sock",
        "unix://host/a.sock",
        "unix:////a.sock",
        "unix:///a.sock?x",
        "unix:///a.sock#x",
        "tcp://localhost:1",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:70000",
        "tcp://127.0.0.1:1/",
        "tcp://127.0.0.1:1/foo",
        "tcp://127.0.0.1:1?x",
        "tcp://user@127.0.0.1:1",
        "tcp:127.0.0.1:1",
        "https://127.0.0.1:1",
    ],
)
def test_1_5_4_whatever_else_is_refused(text: str) -> None:
    """Before anything is dialled."""
    with pytest.raises(RingfenceError) as caught:
        endpoint(text)
    assert caught.value.kind is Kind.INVALID


async def test_1_5_5_a_caller_shows_nothing_and_is_known(server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """Whatever it claims: the kernel says which program it runs, and that alone decides."""
    python = await asyncio.to_thread(os.path.realpath, sys.executable)
    await server.create_entry(ID, f"unix:path:{python}")
    await server.create_entry("spiffe://example.org/cat", "unix:path:/bin/cat")
    claims = (*HEADER, ("x-spiffe-id", "spiffe://example.org/cat"), ("authorization", "Bearer x"))
    async with workload_client(agent.socket) as client:
        for metadata in (HEADER, claims):
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=metadata)
            assert [svid.spiffe_id for svid in (await call.read()).svids] == [ID]
            call.cancel()


async def test_1_5_6_an_agent_that_cannot_serve_yet_is_unavailable(tmp_path: Path, server: ServerUnderTest) -> None:
    """Registered, and the server that would sign is away: Unavailable, not PermissionDenied, so that callers retry."""
    async with running_agent(tmp_path, server, hold=0.3) as agent:
        assert agent.agent is not None
        assert agent.agent.watches is not None
        agent.agent.watches.cache.synced = False  # as before the server's first word
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER)
            assert (await status_of(call))[0] is grpc.StatusCode.UNAVAILABLE


def _asked(channel: grpc.aio.Channel, **question: Any) -> Any:
    request = reflection.ServerReflectionRequest(**question)
    return Client(channel, reflection.DESCRIPTOR).ServerReflectionInfo(iter([request]))


async def test_1_5_7_reflection_tells_of_the_workload_api(agent: AgentUnderTest) -> None:
    """Without the security header, which a client that knows nothing cannot know; the service is the standard's."""
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        listed = await _asked(channel, list_services="").read()
        names = [each.name for each in listed.list_services_response.service]
        assert names == ["SpiffeWorkloadAPI", "grpc.reflection.v1.ServerReflection"]
        file = await _asked(channel, file_containing_symbol="SpiffeWorkloadAPI").read()
        assert b"FetchX509SVID" in file.file_descriptor_response.file_descriptor_proto[0]


async def test_1_5_7_the_service_is_not_extended(agent: AgentUnderTest) -> None:
    """Of its name there are the standard's methods alone; what else is on the socket has names of its own."""
    assert agent.agent is not None
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        for method in ("Explain", "Launch", "StreamSecrets", "ServerReflectionInfo"):
            call = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")(b"", metadata=HEADER)
            assert (await status_of(call))[0] is grpc.StatusCode.UNIMPLEMENTED
