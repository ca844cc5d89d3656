"""Floods: of nodes that prove nothing, and of workloads that come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio

from ringfence.broker.store import ledger, nodes
from tests.broker.agent.harness import OWN_UID, first_svids, running_agent
from tests.broker.server.harness import running_server
from tests.broker.server.node import Node

MANY = 150


async def test_a_flood_of_nodes_that_prove_nothing_keeps_none_out_that_does(tmp_path: Path) -> None:
    """Each is refused, nothing is signed or stored for it, and one with a good token joins amid them."""
    async with running_server(tmp_path) as server:
        before = await server.parts.store.run(ledger.states)
        good = Node(server.address, server.bundle_pem)
        token = await server.token()
        floods = [Node(server.address, server.bundle_pem).attest(f"nothing-{number}") for number in range(MANY)]
        *refused, joined = await asyncio.gather(*floods, good.attest(token), return_exceptions=True)
        assert not isinstance(joined, BaseException)
        codes = {one.code() for one in refused if isinstance(one, grpc.aio.AioRpcError)}
        assert (len(refused), codes) == (MANY, {grpc.StatusCode.UNAUTHENTICATED})
        assert len(await server.parts.store.run(ledger.states)) == len(before) + 1
        assert list(await server.parts.store.run(nodes.every)) == [good.spiffe_id]


async def test_a_storm_of_workloads_that_come_and_go_is_one_question_to_the_server(tmp_path: Path) -> None:
    """All are served, with one SVID, and nothing is left of them."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server, hold=20) as agent:
        await server.create_entry("spiffe://example.org/w", OWN_UID)
        before = len(await server.parts.store.run(ledger.states))
        for _ in range(3):
            answers = await asyncio.gather(*(first_svids(agent.socket, timeout=30) for _ in range(MANY // 3)))
            assert {answer.svids[0].spiffe_id for answer in answers} == {"spiffe://example.org/w"}
        assert len(await server.parts.store.run(ledger.states)) == before + 1
        assert agent.agent is not None
        assert agent.agent.watches is not None
        async with asyncio.timeout(30):
            while len(agent.agent.watches):  # noqa: ASYNC110  # nobody tells; the kernel's last word is awaited
                await asyncio.sleep(0)
