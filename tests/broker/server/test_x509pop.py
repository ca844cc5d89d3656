"""The challenge: good once, on the connection that it was given out on, for the request that was signed with it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.node_port import NONCE_BYTES
from ringfence.broker.store import ledger
from ringfence.certs.possession import challenge, possess
from ringfence.certs.profile import new_csr
from tests.broker.server.harness import TRUST_DOMAIN, running_server
from tests.broker.server.node import Node, csr, drain, refusal
from tests.certs.factory import Ca
from tests.certs.material import new_key

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


class Device:
    """A key, its certificate, and proofs by it."""

    def __init__(self, folder: Path) -> None:
        now = datetime.now(UTC)
        ca = Ca(start=now - timedelta(hours=1), end=now + timedelta(hours=1))
        self.key = new_key()
        self.leaf = ca.issue(self.key, start=now - timedelta(hours=1), end=now + timedelta(hours=1))
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ca.certificate.public_bytes(Encoding.PEM))

    def proof(self, nonce: bytes, request: bytes) -> pb.AttestRequest:
        """Evidence for *request*."""
        signature = possess(self.key, challenge(TRUST_DOMAIN, nonce, request))
        return pb.AttestRequest(x509pop=pb.X509Pop(chain=[self.leaf], signature=signature), csr=request)


async def _nonce(client: Any) -> bytes:
    nonce: bytes = (await client.Challenge(pb.ChallengeRequest())).nonce
    assert len(nonce) == NONCE_BYTES
    return nonce


async def test_a_challenge_is_good_once(tmp_path: Path) -> None:
    """The second use of the same evidence is refused, and so is a use after a failed one."""
    device = Device(tmp_path)
    async with (
        running_server(tmp_path, x509pop_ca=(device.ca,)) as server,
        Node(server.address, server.bundle_pem).client() as client,
    ):
        evidence = device.proof(await _nonce(client), csr())
        answer = await client.Attest(evidence)
        assert answer.spiffe_id.startswith("spiffe://example.org/ringfence/agent/x509pop/")
        assert (await refusal(client.Attest(evidence))).code() is UNAUTHENTICATED
        nonce = await _nonce(client)
        bad = device.proof(bytes(NONCE_BYTES), csr())
        assert (await refusal(client.Attest(bad))).code() is UNAUTHENTICATED
        assert (await refusal(client.Attest(device.proof(nonce, csr())))).code() is UNAUTHENTICATED


async def test_a_challenge_is_good_on_its_own_connection_only(tmp_path: Path) -> None:
    """A proof that was caught on its way is of no use to whoever caught it."""
    device = Device(tmp_path)
    async with running_server(tmp_path, x509pop_ca=(device.ca,)) as server:
        node = Node(server.address, server.bundle_pem)
        async with node.client() as client, node.client() as other:
            evidence = device.proof(await _nonce(client), csr())
            await _nonce(other)
            failure = await refusal(other.Attest(evidence))
            assert failure.code() is UNAUTHENTICATED
            assert (await client.Attest(evidence)).chain


async def test_a_proof_is_good_for_its_own_request_only(tmp_path: Path) -> None:
    """Nobody puts a key of their own beside another's proof; and nothing was signed for it."""
    device = Device(tmp_path)
    async with running_server(tmp_path, x509pop_ca=(device.ca,)) as server:
        async with Node(server.address, server.bundle_pem).client() as client:
            evidence = device.proof(await _nonce(client), csr())
            evidence.csr = csr()
            assert (await refusal(client.Attest(evidence))).code() is UNAUTHENTICATED
        assert len(await server.parts.store.run(ledger.states)) == 1  # the server's own


@pytest.mark.parametrize("size", [8 << 10, (8 << 10) + 1])
async def test_a_request_too_large_is_not_parsed(tmp_path: Path, size: int) -> None:
    """Whatever the evidence."""
    async with running_server(tmp_path) as server:
        async with Node(server.address, server.bundle_pem).client() as client:
            token = await server.token()
            failure = await refusal(client.Attest(pb.AttestRequest(join_token=token, csr=b"x" * size)))
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert ("at most" in str(failure.details())) is (size > 8 << 10)


async def test_evidence_of_a_kind_that_is_not_taken_is_denied(tmp_path: Path) -> None:
    """A server that was given no authority believes no certificate."""
    device = Device(tmp_path)
    async with running_server(tmp_path) as server, Node(server.address, server.bundle_pem).client() as client:
        failure = await refusal(client.Attest(device.proof(await _nonce(client), csr())))
        assert failure.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "no x509pop evidence" in str(failure.details())
        nothing = await refusal(client.Attest(pb.AttestRequest(csr=csr())))
        assert nothing.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_of_two_agents_with_one_certificate_the_later_one_stays(tmp_path: Path) -> None:
    """A copy is seen: the one before is put out at once, and told why."""
    device = Device(tmp_path)
    async with running_server(tmp_path, x509pop_ca=(device.ca,)) as server, AsyncExitStack() as stack:
        first, second = Node(server.address, server.bundle_pem), Node(server.address, server.bundle_pem)
        for node in (first, second):
            async with node.client() as client:
                answer = await client.Attest(device.proof(await _nonce(client), new_csr(node.key)))
            node.chain, node.spiffe_id = list(answer.chain), answer.spiffe_id
            if node is first:
                stream = await stack.enter_async_context(node.connected())
                await stream.hear("entries")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await drain(stream.call)
        assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "attested again elsewhere" in str(failure.value.details())
        async with second.connected() as stream:
            await stream.hear("entries")
