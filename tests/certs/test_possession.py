"""Proof of possession: what is believed, and each reason for which it is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs import possession
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import Possession, challenge, possess, prove
from ringfence.certs.spiffe_id import TrustDomain
from tests.certs.factory import Ca, builder
from tests.certs.material import NOW, TD, new_key

DATA = challenge(TD, b"n" * 32, b"request")
_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=False,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_NO_SIGNING = x509.KeyUsage(
    digital_signature=False,
    key_encipherment=True,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


CA = Ca()


def _refusal(shown: Possession, *, data: bytes = DATA, ca: Ca = CA) -> str:
    with pytest.raises(RingfenceError) as caught:
        prove(shown, data, [ca.certificate], now=NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.detail


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_a_node_that_holds_the_key_is_known_by_its_certificate(kind: str) -> None:
    """Its name, its fingerprint and that of the authority above come out, for each kind of key."""
    key: Any
    match kind:
        case "P-256":
            key = new_key()
        case "P-384":
            key = ec.generate_private_key(ec.SECP384R1())
        case _:
            key = rsa.generate_private_key(65537, 2048)
    found = prove(Possession((CA.issue(key),), possess(key, DATA)), DATA, [CA.certificate], now=NOW)
    assert found.common_name == "node-1"
    assert found.fingerprint == found.leaf.fingerprint(hashes.SHA256()).hex()
    assert found.authorities == (CA.certificate.fingerprint(hashes.SHA256()).hex(),)


def test_an_intermediate_that_was_sent_leads_to_the_root() -> None:
    """Both authorities are named, the nearer one first."""
    middle, key = Ca("Line 4", CA), new_key()
    chain = (middle.issue(key), middle.certificate.public_bytes(Encoding.DER))
    found = prove(Possession(chain, possess(key, DATA)), DATA, [CA.certificate], now=NOW)
    assert found.authorities == tuple(c.certificate.fingerprint(hashes.SHA256()).hex() for c in (middle, CA))


def test_a_proof_is_good_for_one_challenge_only() -> None:
    """Another nonce, another request and another trust domain make another challenge each."""
    key = new_key()
    shown = Possession((CA.issue(key),), possess(key, DATA))
    for other in (
        challenge(TD, b"m" * 32, b"request"),
        challenge(TD, b"n" * 32, b"another request"),
        challenge(TrustDomain("other.org"), b"n" * 32, b"request"),
    ):
        assert "not signed" in _refusal(shown, data=other)


def test_a_key_that_is_not_the_certificates_proves_nothing() -> None:
    """A certificate is public: having it is no proof."""
    assert "not signed" in _refusal(Possession((CA.issue(new_key()),), possess(new_key(), DATA)))


def test_another_authority_of_the_same_name_vouches_for_nobody() -> None:
    """The path is followed by signatures, not by names."""
    key = new_key()
    assert "verify" in _refusal(Possession((Ca().issue(key),), possess(key, DATA)))


@pytest.mark.parametrize("times", [{"end": NOW - timedelta(seconds=1)}, {"start": NOW + timedelta(seconds=1)}])
def test_a_certificate_is_good_in_its_time_only(times: dict[str, Any]) -> None:
    """Neither before nor after."""
    key = new_key()
    assert "verify" in _refusal(Possession((CA.issue(key, **times),), possess(key, DATA)))


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "signing certificate"),
        (_NO_SIGNING, "key usage"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), "client authentication"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), "verify"),
    ],
)
def test_a_certificate_for_something_else_is_refused(extension: x509.ExtensionType, says: str) -> None:
    """An authority's, one that may not sign, a server's, and one with a critical extension that nobody knows."""
    key = new_key()
    assert says in _refusal(Possession((CA.issue(key, "x", extension),), possess(key, DATA)))


@pytest.mark.parametrize("extension", [_USAGE, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])])
def test_a_certificate_of_a_client_is_taken(extension: x509.ExtensionType) -> None:
    """What it is for may be said."""
    key = new_key()
    assert prove(Possession((CA.issue(key, "x", extension),), possess(key, DATA)), DATA, [CA.certificate], now=NOW)


def test_a_leaf_issues_no_nodes() -> None:
    """Who was given a certificate can't make more of them."""
    node, key = Ca("node", CA, ca=False), new_key()
    chain = (node.issue(key), node.certificate.public_bytes(Encoding.DER))
    assert "verify" in _refusal(Possession(chain, possess(key, DATA)))


def test_a_configured_certificate_is_no_node_by_itself() -> None:
    """Something has to have been issued by it."""
    node = Ca("self", ca=False)
    shown = Possession((node.certificate.public_bytes(Encoding.DER),), possess(node.key, DATA))
    assert _refusal(shown, ca=node)


def test_no_authority_believes_nobody() -> None:
    """Nothing configured is nothing allowed."""
    key = new_key()
    with pytest.raises(RingfenceError, match="no authority"):
        prove(Possession((CA.issue(key),), possess(key, DATA)), DATA, [], now=NOW)


def test_what_would_cost_too_much_is_refused_before_any_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains too long, certificates and signatures too large, keys too large: no signature is looked at."""

    def never(*_: object) -> None:
        raise AssertionError("a signature was verified")

    key = new_key()
    leaf, proof = CA.issue(key), possess(key, DATA)
    monkeypatch.setattr(possession, "_check_signature", never)
    large = CA.issue(rsa.generate_private_key(65537, 4096 + 64))
    weak = CA.issue(rsa.generate_private_key(65537, 1024))  # noqa: S505  # that is what is refused
    odd = CA.issue(_Odd())
    for shown, says in (
        (Possession((), proof), "1 to 4"),
        (Possession((leaf,) * 5, proof), "1 to 4"),
        (Possession((b"x" * 8193,), proof), "at most 8192"),
        (Possession((leaf,), b""), "1 to 512"),
        (Possession((leaf,), b"x" * 513), "1 to 512"),
        (Possession((leaf, large), proof), "RSA"),
        (Possession((weak,), proof), "RSA"),
        (Possession((odd,), proof), "RSA"),
        (Possession((CA.issue(ed25519.Ed25519PrivateKey.generate()),), proof), "neither"),
        (Possession((CA.issue(ec.generate_private_key(ec.SECP256K1())),), proof), "neither"),
        (Possession((b"nonsense",), proof), "cannot be read"),
    ):
        assert says in _refusal(shown)


class _Odd:
    """A key whose exponent makes verification slow."""

    def public_key(self) -> rsa.RSAPublicKey:
        """Only the public half is needed."""
        modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
        return rsa.RSAPublicNumbers(2**32 + 15, modulus).public_key()


@given(st.lists(st.binary(max_size=200), max_size=6), st.binary(max_size=600))
def test_garbage_is_refused_in_words(chain: list[bytes], signature: bytes) -> None:
    """Whatever comes, it is UNAUTHENTICATED and nothing else."""
    _refusal(Possession(tuple(chain), signature))


def test_a_name_that_is_several_names_is_none() -> None:
    """With two common names, which one an entry means would be anybody's guess."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("a", "b")])
    leaf = builder(subject, CA.name, key.public_key()).sign(CA.key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert prove(Possession((leaf,), possess(key, DATA)), DATA, [CA.certificate], now=NOW).common_name == ""


def test_a_proof_shows_no_signature_where_it_is_printed() -> None:
    """A log line of it is no material to replay."""
    assert "secret" not in repr(Possession((), b"secret"))
