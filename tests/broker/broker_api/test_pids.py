"""A process that a broker names by its pid, and that becomes another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from tests.broker.agent.harness import OWN_UID, running_agent, wait_for_entries
from tests.broker.broker_api.harness import (
    HEADER,
    broker_config,
    broker_socket,
    by_pid,
    credential,
    dial,
    ended,
    request,
    workload,
)
from tests.broker.server.harness import running_server


async def test_a_stream_ends_when_its_workload_runs_another_program(tmp_path: Path) -> None:
    """Although nothing is to be sent: what was named is there no more, and the broker is told so."""
    async with (
        running_server(tmp_path) as server,
        running_agent(tmp_path, server, broker=broker_config(tmp_path)) as agent,
        dial(server, broker_socket(tmp_path), await credential(server)) as broker,
        workload("/bin/sh", "-c", "read line; exec /bin/cat") as process,
    ):
        wait_for_entries(server, agent)
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        call = broker.client.SubscribeToX509SVID(request("SubscribeToX509SVID", by_pid(process.pid)), metadata=HEADER)
        assert await call.read()
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        async with asyncio.timeout(30):
            end = await ended(call)
    assert (end.code, end.reason) == (grpc.StatusCode.NOT_FOUND, "WORKLOAD_NOT_FOUND")
    assert end.details == f"process {process.pid} runs another program now"
