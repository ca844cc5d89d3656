"""Two rounds over the wire: the second on the connection of the first, once, and nothing is signed before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.address import Address
from ringfence.broker.config import ServerConfig
from ringfence.broker.store import ledger
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.attest.devid import secret_of, shown
from tests.broker.server.harness import TRUST_DOMAIN, running_server
from tests.broker.server.node import Node, csr, refusal
from tests.certs.factory import Ca
from tests.certs.material import new_key
from tests.certs.tpm.paper import PaperTpm

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


class Device:
    """A node with a TPM on paper, and the files that make a server believe it."""

    def __init__(self, folder: Path) -> None:
        hour, now = timedelta(hours=1), datetime.now(UTC)
        self._times: Any = {"start": now - hour, "end": now + hour}
        self._ca, maker = Ca("Operator", **self._times), Ca("Maker", **self._times)
        self._key, self.tpm = new_key(), PaperTpm(maker)
        self._chain = (self._ca.issue(self._key, "gpu-7", **self._times),)
        self.files = {"tpm_devid_ca": (folder / "devid.pem",), "tpm_ek_ca": (folder / "ek.pem",)}
        for ca, (path,) in zip((self._ca, maker), self.files.values(), strict=True):
            path.write_bytes(ca.certificate.public_bytes(Encoding.PEM))

    async def first(self, client: Any, request: bytes) -> pb.AttestResponse:
        """The first round's answer."""
        nonce = (await client.Challenge(pb.ChallengeRequest())).nonce
        data = challenge(TRUST_DOMAIN, nonce, request, attestor="tpm_devid")
        found = replace(self.tpm.evidence(self._ca, self._key, data, **self._times), chain=self._chain)
        answer: pb.AttestResponse = await client.Attest(pb.AttestRequest(tpm_devid=shown(found), csr=request))
        return answer

    def second(self, asked: pb.AttestResponse, request: bytes) -> pb.AttestRequest:
        """The second round's request."""
        return pb.AttestRequest(tpm_devid=secret_of(self.tpm, asked), csr=request)


async def test_nothing_is_signed_before_the_tpm_has_opened_the_credential(tmp_path: Path) -> None:
    """The first answer admits nobody; the second is the node's SVID."""
    device = Device(tmp_path)
    async with running_server(tmp_path, **device.files) as server:
        async with Node(server.address, server.bundle_pem).client() as client:
            request = csr()
            asked = await device.first(client, request)
            assert not asked.chain
            assert len(await server.parts.store.run(ledger.states)) == 1  # the server's own
            assert not list(server.parts.agent_api.agents.every())
            answer = await client.Attest(device.second(asked, request))
        assert answer.spiffe_id.startswith("spiffe://example.org/ringfence/agent/tpm_devid/")
        [(node, _)] = server.parts.agent_api.agents.every()
        assert node.spiffe_id == answer.spiffe_id
        assert "tpm_devid:subject:cn:gpu-7" in node.selectors
        assert node.can_reattest


async def test_a_credential_is_good_once_however_that_ends(tmp_path: Path) -> None:
    """Neither after it was opened, nor after a guess, nor after evidence of another kind."""
    device, request = Device(tmp_path), csr()
    async with (
        running_server(tmp_path, **device.files) as server,
        Node(server.address, server.bundle_pem).client() as client,
    ):
        second = device.second(await device.first(client, request), request)
        assert (await client.Attest(second)).chain
        assert (await refusal(client.Attest(second))).code() is UNAUTHENTICATED
        for other in (
            pb.AttestRequest(tpm_devid=pb.TpmDevid(secret=b"guess"), csr=request),
            pb.AttestRequest(join_token="none", csr=request),  # noqa: S106  # it is none
        ):
            second = device.second(await device.first(client, request), request)
            assert (await refusal(client.Attest(other))).code() is UNAUTHENTICATED
            assert (await refusal(client.Attest(second))).code() is UNAUTHENTICATED


async def test_a_credential_is_good_on_its_own_connection_only(tmp_path: Path) -> None:
    """An answer that was caught on its way is of no use to whoever caught it."""
    device, request = Device(tmp_path), csr()
    async with running_server(tmp_path, **device.files) as server:
        node = Node(server.address, server.bundle_pem)
        async with node.client() as client, node.client() as other:
            second = device.second(await device.first(client, request), request)
            await device.first(other, request)
            assert (await refusal(other.Attest(second))).code() is UNAUTHENTICATED
            assert (await client.Attest(second)).chain


async def test_of_two_credentials_the_later_one_counts(tmp_path: Path) -> None:
    """A peer has one at most."""
    device, request = Device(tmp_path), csr()
    async with (
        running_server(tmp_path, **device.files) as server,
        Node(server.address, server.bundle_pem).client() as client,
    ):
        first = device.second(await device.first(client, request), request)
        await device.first(client, request)
        assert (await refusal(client.Attest(first))).code() is UNAUTHENTICATED


async def test_a_banned_node_is_refused_in_the_second_round(tmp_path: Path) -> None:
    """As every node is: before anything is signed."""
    device, request = Device(tmp_path), csr()
    async with (
        running_server(tmp_path, **device.files) as server,
        Node(server.address, server.bundle_pem).client() as client,
    ):
        agents = server.parts.agent_api.agents
        known = (await client.Attest(device.second(await device.first(client, request), request))).spiffe_id
        await agents.ban(SpiffeId.parse(known))
        second = device.second(await device.first(client, request), request)
        assert (await refusal(client.Attest(second))).code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_server_without_authorities_takes_no_devid(tmp_path: Path) -> None:
    """And says which flag it lacks."""
    device = Device(tmp_path)
    async with running_server(tmp_path) as server, Node(server.address, server.bundle_pem).client() as client:
        failure = await refusal(device.first(client, csr()))
        assert failure.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "no tpm_devid evidence" in str(failure.details())


@pytest.mark.parametrize("lacking", ["tpm_devid_ca", "tpm_ek_ca"])
def test_one_kind_of_authority_is_not_enough(tmp_path: Path, lacking: str) -> None:
    """A DevID certificate without a TPM that somebody vouches for is no more than x509pop's."""
    files = {name: paths for name, paths in Device(tmp_path).files.items() if name != lacking}
    with pytest.raises(RingfenceError) as caught:
        ServerConfig(TRUST_DOMAIN, tmp_path, Address("127.0.0.1", 0), **files)
    assert caught.value.kind is Kind.INVALID
    assert "go together" in caught.value.detail
