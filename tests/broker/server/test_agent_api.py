"""Attestation and who may connect, by a grpcio client over real TLS."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.profile import new_csr
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from tests.broker.server.harness import TRUST_DOMAIN, running_server
from tests.broker.server.node import TRAINER, Node, ended, joined, refusal


async def test_a_join_token_becomes_an_identity_that_verifies(tmp_path: Path) -> None:
    """Attest answers with a chain for the node's own key, named after the token's hash, and the bundle to check by."""
    async with running_server(tmp_path) as server:
        token = await server.token()
        node = Node(server.address, server.bundle_pem)
        response = await node.attest(token)
        bundle = SpiffeBundle.parse(TRUST_DOMAIN, response.bundle)
        verified = verify_peer(list(response.chain), bundle, now=system_clock())
        assert str(verified) == response.spiffe_id
        assert verified.path.startswith("/ringfence/agent/join_token/")
        assert token not in response.spiffe_id


async def test_a_join_token_is_good_once(tmp_path: Path) -> None:
    """Of many agents racing with one token exactly one gets in, and the others are told why."""
    async with running_server(tmp_path) as server:
        token = await server.token()
        racers = [Node(server.address, server.bundle_pem) for _ in range(8)]
        results = await asyncio.gather(*(node.attest(token) for node in racers), return_exceptions=True)
        failures = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert len(failures) == 7
        assert {failure.code() for failure in failures} == {grpc.StatusCode.UNAUTHENTICATED}
        assert "used already" in str(failures[0].details())


async def test_an_expired_or_unknown_token_is_refused(tmp_path: Path) -> None:
    """The refusal tells expired from unknown, so that an operator knows what to do."""
    now = [system_clock()]
    async with running_server(tmp_path, clock=lambda: now[0]) as server:
        token = await server.token(ttl=60)
        now[0] += timedelta(seconds=61)
        expired = await refusal(Node(server.address, server.bundle_pem).attest(token))
        unknown = await refusal(Node(server.address, server.bundle_pem).attest("no such token"))
        assert "has expired" in str(expired.details())
        assert "not known" in str(unknown.details())


async def test_a_bad_request_does_not_spend_the_token(tmp_path: Path) -> None:
    """A CSR that does not prove its key is refused before the token is looked at."""
    async with running_server(tmp_path) as server:
        token = await server.token()
        node = Node(server.address, server.bundle_pem)
        async with node.client() as client:
            failure = await refusal(client.Attest(pb.AttestRequest(join_token=token, csr=b"nonsense")))
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
        await node.attest(token)


@pytest.mark.parametrize("who", ["nobody", "workload", "banned", "stranger"])
async def test_only_admitted_agents_connect(tmp_path: Path, who: str) -> None:
    """Without a certificate, with a workload's, with a banned or a forgotten agent's: each is refused."""
    async with running_server(tmp_path) as server:
        node = await joined(server)
        parts = server.parts
        if who == "nobody":
            node.chain = []
        elif who == "workload":
            entry = await server.create_entry(TRAINER, "unix:uid:1000")
            async with node.connected() as stream:
                await stream.hear("entries")
                await stream.say(svids=pb.SvidRequest(items=[pb.SvidItem(entry_id=entry.id, csr=new_csr(node.key))]))
                node.chain = list((await stream.hear("svids")).results[0].chain)
        elif who == "banned":
            await parts.agent_api.agents.ban(SpiffeId.parse(node.spiffe_id))
        else:
            parts.agent_api.agents._nodes.clear()
        expected = grpc.StatusCode.UNAUTHENTICATED if who == "nobody" else grpc.StatusCode.PERMISSION_DENIED
        assert await ended(node) is expected
