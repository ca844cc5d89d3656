"""The attestor of DevIDs in TPMs: two rounds, what the second one takes, and what is said of a node."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.node_port import Asked, Evidence, Proven
from ringfence.broker.attest.tpm_devid import TpmDevidAttestor
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from tests.broker.attest.devid import opened, shown
from tests.certs.factory import Ca
from tests.certs.material import NOW, SECOND, TD, new_key
from tests.certs.tpm.paper import CSR, NONCE, PaperTpm

CA, MAKER = Ca("Operator"), Ca("Maker of TPMs")
KEY = new_key()
TPM = PaperTpm(MAKER)
FOUND = TPM.evidence(CA, KEY)
FIRST = Evidence(shown(FOUND), CSR, NONCE)


class Clock:
    """Says what it is told to."""

    now = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now


def _attestor(clock: Any = lambda: NOW) -> TpmDevidAttestor:
    return TpmDevidAttestor(TD, lambda: (CA.certificate,), lambda: (MAKER.certificate,), clock=clock)


async def _asked(attestor: TpmDevidAttestor, evidence: Evidence = FIRST) -> Asked:
    asked = await attestor.prove(evidence)
    assert isinstance(asked, Asked)
    return asked


async def _refusal(attestor: TpmDevidAttestor, evidence: Evidence) -> str:
    with pytest.raises(RingfenceError) as caught:
        await attestor.prove(evidence)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert "--tpm-devid-cert" in caught.value.hint
    return caught.value.detail


async def test_a_tpm_that_opens_its_credential_names_the_node() -> None:
    """By the certificate's fingerprint; its names and the authorities above it are selectors, as SPIRE spells them."""
    attestor = _attestor()
    asked = await _asked(attestor)
    proven = await attestor.prove(opened(TPM, asked, CSR))
    assert isinstance(proven, Proven)
    assert proven.name == read_certificate(FOUND.chain[0]).fingerprint(hashes.SHA256()).hex()
    assert list(map(str, proven.selectors)) == [
        f"tpm_devid:ca:fingerprint:{CA.certificate.fingerprint(hashes.SHA256()).hex()}",
        "tpm_devid:issuer:cn:Operator",
        "tpm_devid:subject:cn:gpu-7",
    ]


async def test_the_first_round_admits_nobody_and_tells_no_secret() -> None:
    """What is sent is of use to that TPM alone; what is kept is printed nowhere."""
    asked = await _asked(_attestor())
    assert asked.answer.HasField("tpm_credential")
    assert not asked.answer.spiffe_id
    assert not asked.answer.chain
    secret = opened(TPM, asked, CSR).given.secret
    assert secret not in asked.answer.SerializeToString()
    assert str(secret) not in repr(asked) + repr(asked.pending)


@pytest.mark.parametrize("nonce", [b"", b"short"])
async def test_without_a_challenge_nothing_is_proved(nonce: bytes) -> None:
    """A signature over a nonce that the server did not give out could be an old one."""
    assert "no challenge" in await _refusal(_attestor(), replace(FIRST, nonce=nonce))


async def test_the_challenge_is_for_the_request_that_came_with_it() -> None:
    """A proof that is passed on is worthless to whoever passes it on."""
    assert "not by the key" in await _refusal(_attestor(), replace(FIRST, csr=new_csr(new_key())))


@pytest.mark.parametrize("pending", [None, "of another attestor"])
async def test_a_secret_that_nobody_asked_for_proves_nothing(pending: Any) -> None:
    """The second round alone."""
    second = Evidence(pb.TpmDevid(secret=b"x" * 32), CSR, b"", pending)
    assert "no credential was made" in await _refusal(_attestor(), second)


async def test_only_what_the_tpm_opened_is_taken() -> None:
    """Neither a guess, nor a part of it."""
    attestor = _attestor()
    asked = await _asked(attestor)
    good = opened(TPM, asked, CSR)
    for secret in (b"x" * 32, good.given.secret[:-1], good.given.secret + b"\0", b"\0"):
        wrong = replace(good, given=pb.TpmDevid(secret=secret))
        assert "did not open the credential" in await _refusal(attestor, wrong)


async def test_a_credential_is_for_the_request_that_it_was_made_for() -> None:
    """Whoever else is on the connection gets nothing for a key of their own."""
    attestor = _attestor()
    second = opened(TPM, await _asked(attestor), new_csr(new_key()))
    assert "for another request" in await _refusal(attestor, second)


async def test_a_credential_is_opened_soon() -> None:
    """Within two minutes: what was checked in the first round is not checked again."""
    clock = Clock()
    attestor = _attestor(clock)
    second = opened(TPM, await _asked(attestor), CSR)
    clock.now = NOW + timedelta(minutes=2)
    assert await attestor.prove(second)
    clock.now += SECOND
    assert "too late" in await _refusal(attestor, second)


async def test_a_tpm_without_the_attestation_key_learns_nothing() -> None:
    """A key in software lies about the DevID key, beside the endorsement certificate of a real TPM."""
    liar = PaperTpm(MAKER, TPM.endorsement, new_key())
    asked = await _asked(_attestor(), replace(FIRST, given=shown(liar.evidence(CA, new_key()))))
    with pytest.raises(ValueError, match="INTEGRITY"):  # as the real TPM says, which has another attestation key
        opened(TPM, asked, CSR)


async def test_authorities_are_asked_for_at_each_proof() -> None:
    """One that is taken out, of either kind, is believed no more."""
    devid, endorsement = [CA.certificate], [MAKER.certificate]
    attestor = TpmDevidAttestor(TD, lambda: tuple(devid), lambda: tuple(endorsement), clock=lambda: NOW)
    await _asked(attestor)
    endorsement.clear()
    assert "no authority" in await _refusal(attestor, FIRST)
    endorsement.append(MAKER.certificate)
    devid.clear()
    assert "no authority" in await _refusal(attestor, FIRST)
