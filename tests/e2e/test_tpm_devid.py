"""A software TPM, tpm2-tools that make a DevID key in it, and an agent that proves itself by both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from ringfence.broker.agent.daemon import Agent
from ringfence.broker.agent.prove_tpm_devid import DevidFiles, TpmDevidProver
from ringfence.broker.attest.node_port import Asked, Evidence
from ringfence.broker.attest.tpm_devid import TpmDevidAttestor
from ringfence.broker.store import ledger
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.agent.harness import OWN_UID, agent_process, config, first_svids, running_agent
from tests.broker.server.harness import TRUST_DOMAIN, ServerUnderTest, running_server
from tests.certs.factory import Ca
from tests.certs.material import new_key
from tests.ports import free_port
from tests.tpm import Devid, SoftwareTpm, TpmMaker, maker, read_pem

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ID = "spiffe://example.org/ns/a/sa/w"
NONCE, CSR = bytes(range(32)), new_csr(new_key())


@dataclass(frozen=True, slots=True)
class _Public:
    """As much of a private key as a certificate takes."""

    key: Any

    def public_key(self) -> Any:
        """The key."""
        return self.key


@dataclass(frozen=True, slots=True)
class Operator:
    """Who issues DevID certificates, and believes one maker of TPMs."""

    folder: Path
    ca: Ca
    times: dict[str, Any]
    maker: TpmMaker

    @property
    def believed(self) -> dict[str, Any]:
        """What a server is told."""
        path = self.folder / "devid-ca.pem"
        path.write_bytes(self.ca.certificate.public_bytes(Encoding.PEM))
        return {"tpm_devid_ca": (path,), "tpm_ek_ca": (self.maker.authority,)}

    def attestor(self) -> TpmDevidAttestor:
        """A server's judge, who lets the operator vouch for TPMs too."""
        devid = (self.ca.certificate,)
        endorsement = (read_pem(self.maker.authority), *devid)
        return TpmDevidAttestor(TRUST_DOMAIN, lambda: devid, lambda: endorsement, clock=lambda: datetime.now(UTC))

    def files(self, devid: Devid) -> DevidFiles:
        """A DevID with its certificate."""
        path = self.folder / "devid.pem"
        path.write_bytes(read_certificate(self.issue(devid.key)).public_bytes(Encoding.PEM))
        return DevidFiles(path, devid.private, devid.public)

    def issue(self, key: Any) -> bytes:
        """A DevID certificate."""
        return self.ca.issue(_Public(key), "gpu-7", **self.times)


@pytest.fixture(scope="module")
def makers() -> Iterator[TpmMaker]:
    """One for all tests."""
    with maker() as made:
        yield made


@pytest.fixture(scope="module")
def tpm(makers: TpmMaker) -> Iterator[SoftwareTpm]:
    """A TPM of that maker, of the node."""
    with makers.tpm() as made:
        yield made


@pytest.fixture(scope="module")
def other_tpm(makers: TpmMaker, tpm: SoftwareTpm) -> Iterator[SoftwareTpm]:
    """Another one of that maker, of whoever attacks."""
    with makers.tpm() as made:
        yield made


@pytest.fixture
def operator(tmp_path: Path, makers: TpmMaker, tpm: SoftwareTpm) -> Operator:
    """With an authority of today."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    times = {"start": now - hour, "end": now + hour}
    return Operator(tmp_path, Ca("Operator", **times), times, makers)


def _flags(server: ServerUnderTest, files: DevidFiles, tcti: str) -> dict[str, Any]:
    bundle = files.certificate.with_name("bootstrap.pem")
    bundle.write_bytes(server.bundle_pem)
    devid = {"tpm_devid_cert": files.certificate, "tpm_devid_priv": files.private, "tpm_devid_pub": files.public}
    return {"attestor": "tpm_devid", "bootstrap_bundle": bundle, "tpm_tcti": tcti, **devid}


async def _refusal(folder: Path, server: ServerUnderTest, files: DevidFiles, tcti: str) -> RingfenceError:
    told = config(folder / "refused", server.address, **_flags(server, files, tcti))
    with pytest.raises(RingfenceError) as caught:
        await Agent(told).run(asyncio.Event())
    assert not list(server.parts.agent_api.agents.every())
    assert len(await server.parts.store.run(ledger.states)) == 1  # the server's own
    return caught.value


async def _judged(operator: Operator, prover: TpmDevidProver) -> Any:
    """Both rounds, without a wire between them."""
    attestor = operator.attestor()
    first = prover.evidence(TRUST_DOMAIN, NONCE, CSR)
    asked = await attestor.prove(Evidence(first.tpm_devid, CSR, NONCE))
    assert isinstance(asked, Asked)
    second = prover.answer(asked.answer.tpm_credential, CSR)
    return await attestor.prove(Evidence(second.tpm_devid, CSR, b"", asked.pending))


@pytest.mark.parametrize("algorithm", ["ecc256", "rsa2048"])
async def test_an_agent_attests_by_its_tpm_and_serves(
    tmp_path: Path, operator: Operator, tpm: SoftwareTpm, algorithm: str
) -> None:
    """No operator is needed, neither then nor after an eviction; nothing is left in the TPM."""
    files = operator.files(tpm.devid(algorithm))
    async with (
        running_server(tmp_path, **operator.believed) as server,
        running_agent(tmp_path, server, joined=True, **_flags(server, files, tpm.tcti)) as agent,
    ):
        await server.create_entry(ID, OWN_UID)
        assert (await first_svids(agent.socket)).svids[0].spiffe_id == ID
        agents = server.parts.agent_api.agents
        [(node, _)] = agents.every()
        assert node.spiffe_id.startswith("spiffe://example.org/ringfence/agent/tpm_devid/")
        assert {"tpm_devid:subject:cn:gpu-7", "tpm_devid:issuer:cn:Operator"} <= set(node.selectors)
        assert tpm.loaded() == ""
        await agents.evict(SpiffeId.parse(node.spiffe_id))
        async with asyncio.timeout(20):
            while not list(agents.every()):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)
        [(after, _)] = agents.every()
        assert after.spiffe_id == node.spiffe_id
        assert after.serial != node.serial


async def test_the_command_takes_it_all_from_its_flags(tmp_path: Path, operator: Operator, tpm: SoftwareTpm) -> None:
    """`ringfence agent run`, as in docs/attestors/tpm_devid.md."""
    files = operator.files(tpm.devid())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path, **operator.believed))
        told = _flags(server, files, tpm.tcti)
        flags = [part for name, value in told.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        await stack.enter_async_context(agent_process(tmp_path, server.address, *flags, http_port=free_port()))
        [(node, _)] = server.parts.agent_api.agents.every()
        assert node.attestor == "tpm_devid"


async def test_files_copied_to_another_tpm_are_of_no_use(
    tmp_path: Path, operator: Operator, tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    """A wrapped key opens below the storage root of its own TPM only."""
    files = operator.files(tpm.devid())
    async with running_server(tmp_path, **operator.believed) as server:
        error = await _refusal(tmp_path, server, files, other_tpm.tcti)
    assert error.kind is Kind.INVALID
    assert "TPM2_LOAD" in error.detail
    assert "of another TPM" in error.detail


async def test_a_copied_certificate_beside_another_tpms_key_is_refused(
    operator: Operator, tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    """By an attacker who leaves out the agent's own check."""
    stolen = operator.issue(tpm.devid().key)
    mine = TpmDevidProver(operator.files(other_tpm.devid()), other_tpm.tcti).evidence(TRUST_DOMAIN, NONCE, CSR)
    del mine.tpm_devid.chain[:]
    mine.tpm_devid.chain.append(stolen)
    with pytest.raises(RingfenceError, match="not of the DevID key") as caught:
        await operator.attestor().prove(Evidence(mine.tpm_devid, CSR, NONCE))
    assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_a_key_that_was_made_outside_of_the_tpm_is_refused(
    tmp_path: Path, operator: Operator, tpm: SoftwareTpm
) -> None:
    """Imported, it is loaded and certified as any other; the TPM says of it that it is not its own."""
    key, folder = new_key(), tmp_path / "outside"
    folder.mkdir()
    pem, private, public = (folder / f"key.{what}" for what in ("pem", "priv", "pub"))
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    root = tpm.storage_root("ecc256")
    tpm.tool("tpm2_import", "-C", root, "-G", "ecc", "-i", pem, "-u", public, "-r", private)
    tpm.flush()
    files = operator.files(Devid(private, public, key.public_key()))
    async with running_server(tmp_path, **operator.believed) as server:
        error = await _refusal(tmp_path, server, files, tpm.tcti)
    assert error.kind is Kind.UNAUTHENTICATED
    assert "no signing key that was made in a TPM" in error.detail


async def test_the_endorsement_of_another_tpm_opens_nothing(
    operator: Operator, tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    """All that is public of a good TPM beside a key of another one: neither of them opens the credential."""
    lent = TpmDevidProver(operator.files(tpm.devid()), tpm.tcti).evidence(TRUST_DOMAIN, NONCE, CSR).tpm_devid
    prover = TpmDevidProver(operator.files(other_tpm.devid()), other_tpm.tcti)
    mine = prover.evidence(TRUST_DOMAIN, NONCE, CSR).tpm_devid
    mine.endorsement, mine.endorsement_certificate = lent.endorsement, lent.endorsement_certificate
    asked = await operator.attestor().prove(Evidence(mine, CSR, NONCE))
    assert isinstance(asked, Asked)
    for either in (prover, TpmDevidProver(operator.files(tpm.devid()), tpm.tcti)):
        with pytest.raises(RingfenceError, match="TPM2_ACTIVATE_CREDENTIAL"):
            either.answer(asked.answer.tpm_credential, CSR)
    assert other_tpm.loaded() == tpm.loaded() == ""


async def test_a_tpm_of_a_maker_that_nobody_trusts_is_refused(tmp_path: Path, operator: Operator) -> None:
    """Everybody can make one in software, as this test does."""
    with maker() as stranger, stranger.tpm() as tpm:
        files = operator.files(tpm.devid())
        async with running_server(tmp_path, **operator.believed) as server:
            error = await _refusal(tmp_path, server, files, tpm.tcti)
    assert error.kind is Kind.UNAUTHENTICATED
    assert "the endorsement certificate does not verify" in error.detail
    assert "--tpm-ek-ca" in error.hint


async def test_a_node_is_made_as_the_page_says(operator: Operator, tpm: SoftwareTpm) -> None:
    """By the very commands of docs/attestors/tpm_devid.md."""
    here = tpm.folder
    pem = operator.ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (here / "devid-ca.key").write_bytes(pem)
    (here / "devid-ca.pem").write_bytes(operator.ca.certificate.public_bytes(Encoding.PEM))
    page = Path(__file__).parents[2] / "docs" / "attestors" / "tpm_devid.md"
    blocks = page.read_text(encoding="utf-8").split("```")[1:4:2]
    for command in "".join(blocks).replace("\\\n", "").strip().splitlines():
        tpm.shell(command)
        tpm.flush()
    files = DevidFiles(here / "devid.pem", here / "devid.priv", here / "devid.pub")
    proven = await _judged(operator, TpmDevidProver(files, tpm.tcti))
    assert "tpm_devid:subject:cn:gpu-7" in map(str, proven.selectors)


async def test_a_root_that_is_kept_is_used(operator: Operator, tpm: SoftwareTpm) -> None:
    """At the handle that is meant for it, whatever its template: a DevID key below it proves the node too."""
    root = tpm.folder / "kept.ctx"
    tpm.tool("tpm2_createprimary", "-C", "o", "-G", "ecc256", "-c", root)
    tpm.flush()
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", root, "0x81000001")
    tpm.flush()
    try:
        devid = tpm.devid(root=Path("0x81000001"))
        assert (await _judged(operator, TpmDevidProver(operator.files(devid), tpm.tcti))).name
    finally:
        tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81000001")


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
async def test_an_endorsement_key_that_is_not_kept_is_made_again(operator: Operator, kind: str) -> None:
    """By its template, L-1 or L-2, from the seed that never changes: what the maker's certificate is of."""
    with operator.maker.tpm() as tpm:
        tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81010001")
        if kind == "ecc":  # swtpm_setup makes a certificate of one on P-384 only
            _certify_p256(operator, tpm)
        proven = await _judged(operator, TpmDevidProver(operator.files(tpm.devid()), tpm.tcti))
        assert proven.name
        assert tpm.loaded() == ""


def _certify_p256(operator: Operator, tpm: SoftwareTpm) -> None:
    """A certificate for that key, where makers put it; the one of the RSA key is taken away."""
    pem, der = tpm.folder / "ek.pem", tpm.folder / "ek.der"
    tpm.tool("tpm2_createek", "-G", "ecc", "-c", tpm.folder / "ek.ctx", "-u", pem, "-f", "pem")
    tpm.flush()
    der.write_bytes(operator.ca.issue(_Public(load_pem_public_key(pem.read_bytes())), "ek", **operator.times))
    tpm.tool("tpm2_nvundefine", "-C", "p", "0x01c00002")
    attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate"
    tpm.tool("tpm2_nvdefine", "-C", "p", "-s", str(der.stat().st_size), "-a", attributes, "0x01c0000a")
    tpm.tool("tpm2_nvwrite", "-C", "p", "-i", der, "0x01c0000a")


def test_a_tpm_without_an_endorsement_certificate_says_so(operator: Operator) -> None:
    """It proves nothing to anybody."""
    with operator.maker.tpm() as bare:
        bare.tool("tpm2_nvundefine", "-C", "p", "0x01c00002")
        prover = TpmDevidProver(operator.files(bare.devid()), bare.tcti)
        with pytest.raises(RingfenceError, match="holds no endorsement certificate"):
            prover.evidence(TRUST_DOMAIN, NONCE, CSR)
        assert bare.loaded() == ""
