"""The attestor of certificates: nonces, SPIFFE mode, and what it says of a node."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.node_port import NONCE_BYTES, Evidence, Proven
from ringfence.broker.attest.x509pop import X509PopAttestor
from ringfence.certs.authority import Authority
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge, possess
from ringfence.certs.profile import new_csr
from ringfence.certs.spiffe_id import SpiffeId
from tests.certs.factory import Ca
from tests.certs.material import HOUR, NOW, OTHER_TD, TD, new_authority, new_key

CSR = new_csr(new_key())
NONCE = bytes(range(NONCE_BYTES))
BELOW = SpiffeId(OTHER_TD, "/nodes")


def _evidence(key: Any, *chain: bytes, nonce: bytes = NONCE) -> Evidence:
    return Evidence(pb.X509Pop(chain=chain, signature=possess(key, challenge(TD, nonce, CSR))), CSR, nonce)


async def _svid_proof(path: str, *, below: SpiffeId = BELOW, authority: Authority | None = None) -> Proven:
    issuer = authority or new_authority(OTHER_TD)[0]
    key = new_key()
    chain = issuer.issue_x509(SpiffeId(issuer.trust_domain, path), key.public_key(), now=NOW, ttl=HOUR)
    roots = tuple(read_certificate(der) for der in issuer.bundle(1).x509_authorities)
    return await X509PopAttestor(TD, lambda: roots, below=below, clock=lambda: NOW).prove(_evidence(key, *chain))


async def test_a_certificate_names_the_node_and_says_what_is_true_of_it() -> None:
    """Its fingerprint is the name; the common name and the authority are selectors."""
    ca, key = Ca(), new_key()
    leaf = ca.issue(key, "gpu-7")
    proven = await X509PopAttestor(TD, lambda: (ca.certificate,), clock=lambda: NOW).prove(_evidence(key, leaf))
    assert proven.name == read_certificate(leaf).fingerprint(hashes.SHA256()).hex()
    assert list(map(str, proven.selectors)) == [
        f"x509pop:ca:fingerprint:{ca.certificate.fingerprint(hashes.SHA256()).hex()}",
        "x509pop:subject:cn:gpu-7",
    ]


@pytest.mark.parametrize("nonce", [b"", b"short"])
async def test_without_a_challenge_nothing_is_proved(nonce: bytes) -> None:
    """A signature over a nonce that the server did not give out could be an old one."""
    ca, key = Ca(), new_key()
    with pytest.raises(RingfenceError, match="no challenge") as caught:
        await X509PopAttestor(TD, lambda: (ca.certificate,), clock=lambda: NOW).prove(
            _evidence(key, ca.issue(key), nonce=nonce)
        )
    assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_in_spiffe_mode_the_name_outlives_the_certificate() -> None:
    """A renewed SVID of the same SPIFFE ID is the same node."""
    first, second = await _svid_proof("/nodes/gpu-7"), await _svid_proof("/nodes/gpu-7")
    assert first.name == second.name
    assert "x509pop:spiffe_id:spiffe://other.org/nodes/gpu-7" in map(str, first.selectors)
    assert (await _svid_proof("/nodes/gpu-8")).name != first.name


@pytest.mark.parametrize("path", ["/nodesy/gpu-7", "/ns/a/sa/b", "/node"])
async def test_in_spiffe_mode_only_the_nodes_part_counts(path: str) -> None:
    """A workload of that trust domain is no node, however its name begins."""
    with pytest.raises(RingfenceError, match="is not below"):
        await _svid_proof(path)


async def test_in_spiffe_mode_the_trust_domain_counts() -> None:
    """An SVID of a third trust domain, though its authority is trusted, is refused."""
    with pytest.raises(RingfenceError, match=r"third\.org"):
        await _svid_proof("/nodes/a", authority=new_authority(type(TD)("third.org"))[0])


def test_spiffe_mode_refuses_its_own_trust_domain() -> None:
    """Else every workload could make itself a node, and be given any other's identity."""
    with pytest.raises(RingfenceError, match="own trust domain"):
        X509PopAttestor(TD, lambda: (Ca().certificate,), below=SpiffeId(TD, "/nodes"), clock=lambda: NOW)


async def test_in_spiffe_mode_a_certificate_without_a_spiffe_id_is_refused() -> None:
    """Of the same authority or not."""
    ca, key = Ca(), new_key()
    attestor = X509PopAttestor(TD, lambda: (ca.certificate,), below=BELOW, clock=lambda: NOW)
    with pytest.raises(RingfenceError, match="alternative name"):
        await attestor.prove(_evidence(key, ca.issue(key)))
