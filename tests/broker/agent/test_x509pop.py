"""An agent that proves itself by a certificate: it needs no operator to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.broker.agent.daemon import Agent
from ringfence.broker.agent.prove_x509pop import CertificateProver
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload
from tests.broker.agent.harness import (
    HEADER,
    OWN_UID,
    config,
    first_svids,
    running_agent,
    status_of,
    workload_client,
)
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.certs.factory import Ca
from tests.certs.material import new_key

ID = "spiffe://example.org/ns/a/sa/w"


@dataclass(frozen=True, slots=True)
class Factory:
    """An authority of nodes, and the files of one node."""

    ca: Path
    certificate: Path
    key: Path

    def proof(self, server: ServerUnderTest) -> dict[str, Any]:
        """What the agent is told."""
        bundle = self.ca.with_name("bootstrap.pem")
        bundle.write_bytes(server.bundle_pem)
        files = {"x509pop_cert": self.certificate, "x509pop_key": self.key}
        return {"attestor": "x509pop", "joined": True, "bootstrap_bundle": bundle, **files}


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


@asynccontextmanager
async def streaming(tmp_path: Path, factory: Factory) -> AsyncIterator[tuple[ServerUnderTest, SpiffeId, Any]]:
    """A server, its agent, and a workload's open stream that has its SVID."""
    async with (
        running_server(tmp_path, x509pop_ca=(factory.ca,)) as server,
        running_agent(tmp_path, server, **factory.proof(server)) as agent,
        workload_client(agent.socket) as client,
    ):
        await server.create_entry(ID, OWN_UID)
        call = client.FetchX509SVID(workload.X509SVIDRequest(), metadata=HEADER, timeout=20)
        await call.read()
        [(node, _)] = server.parts.agent_api.agents.every()
        yield server, SpiffeId.parse(node.spiffe_id), call


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """With one node, `gpu-7`."""
    made = Factory(tmp_path / "ca.pem", tmp_path / "node.pem", tmp_path / "node.key")
    hour, now = timedelta(hours=1), datetime.now(UTC)
    ca, key = Ca(start=now - hour, end=now + hour), new_key()
    leaf = ca.issue(key, "gpu-7", start=now - hour, end=now + hour)
    made.ca.write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    made.certificate.write_bytes(x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM))
    made.key.write_bytes(_pem(key))
    made.key.chmod(0o600)
    return made


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def test_an_agent_joins_by_its_certificate(tmp_path: Path, factory: Factory) -> None:
    """It serves, and the server knows what was proved of it."""
    async with (
        running_server(tmp_path, x509pop_ca=(factory.ca,)) as server,
        running_agent(tmp_path, server, **factory.proof(server)) as agent,
    ):
        await server.create_entry(ID, OWN_UID)
        assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID
        [(node, _)] = server.parts.agent_api.agents.every()
        assert node.spiffe_id.startswith("spiffe://example.org/ringfence/agent/x509pop/")
        assert "x509pop:subject:cn:gpu-7" in node.selectors
        assert node.can_reattest


async def test_an_evicted_agent_comes_back_by_itself_and_learns_what_it_missed(
    tmp_path: Path, factory: Factory
) -> None:
    """Under the same name, within a moment, with every entry anew; the SVID from before is out."""
    async with (
        running_server(tmp_path, x509pop_ca=(factory.ca,)) as server,
        running_agent(tmp_path, server, **factory.proof(server)) as agent,
    ):
        agents = server.parts.agent_api.agents
        [(before, _)] = agents.every()
        assert await agents.evict(SpiffeId.parse(before.spiffe_id)) == 1
        await server.create_entry(ID, OWN_UID)
        await _until(lambda: agents.connected == 1)
        [(after, _)] = agents.every()
        assert after.spiffe_id == before.spiffe_id
        assert after.serial != before.serial
        assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID


async def test_streams_outlast_an_eviction_that_the_agent_comes_back_from(tmp_path: Path, factory: Factory) -> None:
    """Its workloads notice nothing: it was told to prove itself anew, and could."""
    async with streaming(tmp_path, factory) as (server, node, call):
        agents = server.parts.agent_api.agents
        await agents.evict(node)
        await _until(lambda: agents.connected == 1)
        other = "spiffe://example.org/ns/a/sa/other"
        await server.create_entry(other, OWN_UID)
        assert {svid.spiffe_id for svid in (await call.read()).svids} == {ID, other}
        call.cancel()


async def test_a_banned_agent_that_proves_itself_in_vain_serves_nothing(tmp_path: Path, factory: Factory) -> None:
    """Its streams end once the server has said no to the proof too."""
    async with streaming(tmp_path, factory) as (server, node, call):
        await server.parts.agent_api.agents.ban(node)
        assert (await status_of(call))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_an_agent_that_was_evicted_while_it_was_away_comes_back(tmp_path: Path, factory: Factory) -> None:
    """What it kept is no good any more; its certificate is."""
    async with running_server(tmp_path, x509pop_ca=(factory.ca,)) as server:
        agents = server.parts.agent_api.agents
        async with running_agent(tmp_path, server, **factory.proof(server)):
            [(node, _)] = agents.every()
        await agents.evict(SpiffeId.parse(node.spiffe_id))
        await server.create_entry(ID, OWN_UID)
        async with running_agent(tmp_path, server, **factory.proof(server)) as agent:
            assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID


async def test_a_banned_agent_stays_out_with_the_next_step(tmp_path: Path, factory: Factory) -> None:
    """Proving itself again is of no use: the server signs nothing for it."""
    async with running_server(tmp_path, x509pop_ca=(factory.ca,)) as server:
        agents = server.parts.agent_api.agents
        async with running_agent(tmp_path, server, **factory.proof(server)):
            [(node, _)] = agents.every()
        await agents.ban(SpiffeId.parse(node.spiffe_id))
        fields = {k: v for k, v in factory.proof(server).items() if k != "joined"}
        anew = Agent(config(tmp_path / "anew", server.address, **fields))
        with pytest.raises(RingfenceError) as caught:
            await anew.run(asyncio.Event())
        assert caught.value.kind is Kind.DENIED
        assert "is banned" in str(caught.value)
        assert "ringfence node unban" in caught.value.hint
        assert [known.serial for known, _ in agents.every()] == [node.serial]


async def test_a_server_without_authorities_takes_no_certificate(tmp_path: Path, factory: Factory) -> None:
    """And says which flag it lacks."""
    async with running_server(tmp_path) as server:
        fields = {k: v for k, v in factory.proof(server).items() if k != "joined"}
        with pytest.raises(RingfenceError) as caught:
            await Agent(config(tmp_path, server.address, **fields)).run(asyncio.Event())
        assert "--x509pop-ca" in caught.value.hint


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.key.chmod(0o640), "others may read it"),
        (lambda f: f.key.write_bytes(b"nonsense"), "no private key"),
        (lambda f: f.key.write_bytes(_pem(new_key())), "not the key of"),
        (lambda f: f.key.write_bytes(_pem(ed25519.Ed25519PrivateKey.generate())), "neither RSA"),
        (lambda f: f.key.unlink(), "No such file"),
        (lambda f: f.certificate.write_bytes(b"nonsense"), "no certificate"),
        (lambda f: f.certificate.unlink(), "No such file"),
    ],
)
def test_files_that_prove_nothing_are_named(factory: Factory, spoil: Callable[[Factory], object], says: str) -> None:
    """INVALID, with the file and the flag, before anything is sent."""
    spoil(factory)
    with pytest.raises(RingfenceError) as caught:
        CertificateProver(factory.certificate, factory.key).evidence(TRUST_DOMAIN, b"n" * 32, b"")
    assert caught.value.kind is Kind.INVALID
    assert says in caught.value.detail
    assert caught.value.where in {str(factory.key), str(factory.certificate)}
    assert "--x509pop-" in caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"attestor": "x509pop"},
        {"attestor": "x509pop", "x509pop_cert": Path("a")},
        {"x509pop_cert": Path("a"), "x509pop_key": Path("b")},
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A certificate that would be ignored is a mistake."""
    with pytest.raises(RingfenceError) as caught:
        config(tmp_path, "127.0.0.1:1", **fields)
    assert caught.value.kind is Kind.INVALID
