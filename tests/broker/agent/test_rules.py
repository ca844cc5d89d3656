"""Rule entries and entries that end, with a real server and a real agent."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, running_agent, workload_client
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.e2e
RULE = "spiffe://example.org/users/{unix.uid}/w"


async def _to_the_end(call: Any) -> None:
    while True:
        await call.read()


async def test_one_rule_names_each_workload(tmp_path: Path) -> None:
    """X.509 and JWT, and a restarted agent knows its instances without the server."""
    mine = f"spiffe://example.org/users/{os.geteuid()}/w"
    async with running_server(tmp_path) as server:
        await server.create_entry(RULE)
        async with running_agent(tmp_path, server) as agent:
            [svid] = (await first_svids(agent.socket)).svids
            assert svid.spiffe_id == mine
            async with workload_client(agent.socket) as client:
                asked = workload.JWTSVIDRequest(audience=["db"])
                answer = await client.FetchJWTSVID(asked, metadata=HEADER, timeout=30)
                assert [each.spiffe_id for each in answer.svids] == [mine]
        address = server.address
    async with running_agent(tmp_path, None, address=address, joined=True) as agent:
        [again] = (await first_svids(agent.socket)).svids
        assert (again.spiffe_id, again.x509_svid) == (mine, svid.x509_svid)


async def test_an_open_stream_ends_when_its_rule_goes(tmp_path: Path) -> None:
    """As with any entry."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry(RULE)
        async with running_agent(tmp_path, server) as agent, workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
            await call.read()
            await server.delete_entry(made.id)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _to_the_end(call)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_open_stream_ends_when_its_entry_does(tmp_path: Path) -> None:
    """By the agent's clock, and not before; its SVID ended no later."""
    async with running_server(tmp_path) as server:
        made = await server.create_entry("spiffe://example.org/w", OWN_UID)
        async with running_agent(tmp_path, server) as agent, workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=60)
            await call.read()
            made.expires_at = end = int(time.time()) + 2
            await server.admin.UpdateEntries(pb.UpdateEntriesRequest(entries=[made]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _to_the_end(call)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert end <= time.time()


async def test_a_workload_of_a_job_has_the_rank_that_a_selector_holds(tmp_path: Path) -> None:
    """As `match` finds it: a number, and no other value."""
    intent = """
kind: Workload
metadata: {{name: w, namespace: a}}
spec: {{job: llm, rank: {}, match: [{{unix.uid: {}}}]}}
"""
    async with running_server(tmp_path) as server:
        await server.apply({"intent.yaml": intent.format("unix.gid", os.geteuid())})
        async with running_agent(tmp_path, server) as agent:
            [svid] = (await first_svids(agent.socket)).svids
            assert svid.spiffe_id == f"spiffe://example.org/ns/a/job/llm/rank/{os.getegid()}"
            async with workload_client(agent.socket) as client:
                call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
                await call.read()
                await server.apply({"intent.yaml": intent.format("unix.group", os.geteuid())})
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _to_the_end(call)
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
