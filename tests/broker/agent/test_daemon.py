"""The agent as a whole: its sockets, its pages, its start and its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload
from tests.broker.agent.harness import HEADER, OWN_UID, first_svids, running_agent, status_of, workload_client
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server


async def test_an_agent_joins_and_serves_what_is_registered(tmp_path: Path) -> None:
    """A joined agent gives a workload the SVID of the entry whose selectors it has."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        answer = await first_svids(agent.socket)
    assert [svid.spiffe_id for svid in answer.svids] == ["spiffe://example.org/ns/a/sa/w"]


async def test_a_restarted_agent_serves_with_the_server_down(tmp_path: Path) -> None:
    """X.509 and JWT SVIDs that were given once are given again by an agent that was restarted without a server."""
    async with running_server(tmp_path) as server:
        address = server.address
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        async with running_agent(tmp_path, server) as agent, workload_client(agent.socket) as client:
            before = await first_svids(agent.socket)
            request = workload.JWTSVIDRequest(audience=["db"])
            token = await client.FetchJWTSVID(request, metadata=HEADER)
    async with running_agent(tmp_path, None, address=address, joined=True) as agent:
        after = await first_svids(agent.socket)
        async with workload_client(agent.socket) as client:
            again = await client.FetchJWTSVID(workload.JWTSVIDRequest(audience=["db"]), metadata=HEADER)
    assert after == before
    assert again == token


@pytest.mark.parametrize(("how", "hint"), [("evict", "ringfence token generate"), ("ban", "ringfence node unban")])
async def test_an_agent_that_was_put_out_says_what_to_do(tmp_path: Path, how: str, hint: str) -> None:
    """It tries on, in the server's words, and serves nothing of what it held."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        await first_svids(agent.socket)
        agents = server.parts.agent_api.agents
        [(node, _)] = agents.every()
        await (agents.evict if how == "evict" else agents.ban)(SpiffeId.parse(node.spiffe_id))
        async with asyncio.timeout(30):
            # grpc.aio may report the first end as INTERNAL, when a write of ours met it: the next try gets the words.
            while not (said := agent.agent.last_failure) or not said.hint:
                await asyncio.sleep(0.01)
                continue
        assert hint in said.hint
        agent.hold_for(1.0)
        async with workload_client(agent.socket) as client:
            call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
            assert (await status_of(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        health = await ringfence("agent", "healthcheck", "--socket", agent.socket, "-o", "json")
        assert (health.code, health.json["ready"]) == (3, False)
        assert "the server does not admit this node" in health.json["detail"]
        assert hint in health.json["detail"]
