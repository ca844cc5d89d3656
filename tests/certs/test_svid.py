"""Peers: who they are, by the bundle of their own trust domain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.svid import parse_svid, spiffe_id_of, verify_peer
from tests.attacks import forge, signer, two_uris
from tests.certs.material import HOUR, NOW, OTHER_TD, SECOND, TD, TRAINER, new_authority, new_key

_AUTHORITY, _KEYS = new_authority()
_ISSUER = _AUTHORITY.current.x509.certificate
_SIGN = signer(_AUTHORITY, _KEYS)
_BUNDLE = _AUTHORITY.bundle(1)
_PUBLIC = new_key().public_key()
_ECDSA = ec.ECDSA(hashes.SHA256())
_CHAIN = _AUTHORITY.issue_x509(TRAINER, _PUBLIC, now=NOW, ttl=HOUR)


def _forged(*uris: str, names: Sequence[x509.GeneralName] = (), overrides: dict[Any, Any] | None = None) -> bytes:
    every = [*(x509.UniformResourceIdentifier(uri) for uri in uris or (str(TRAINER),)), *names]
    return forge(_ISSUER, _SIGN, _PUBLIC, names=every, now=NOW, overrides=overrides)


def _refused(chain: Sequence[bytes], says: str, bundle: SpiffeBundle = _BUNDLE) -> None:
    with pytest.raises(RingfenceError, match=says) as caught:
        verify_peer(chain, bundle, now=NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def _usage(*, critical: bool = True, **changes: bool) -> dict[Any, Any]:
    flags = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage = x509.KeyUsage(**{**flags, "digital_signature": True, **changes})
    return {x509.KeyUsage: x509.Extension(usage.oid, critical, usage)}


def test_a_chain_says_whose_it_is_and_how_long() -> None:
    """Parsing believes; only `verify_peer` verifies."""
    svid = parse_svid(_CHAIN)
    assert (svid.spiffe_id, svid.chain) == (TRAINER, _CHAIN)
    assert svid.not_after - svid.not_before == HOUR + timedelta(seconds=10)
    assert spiffe_id_of(_CHAIN[0]) == TRAINER


def test_other_names_beside_the_one_uri_are_fine() -> None:
    """X509-SVID 2 allows other kinds of names."""
    leaf = _forged(str(TRAINER), names=[x509.DNSName("a.example.org")])
    assert verify_peer([leaf], _BUNDLE, now=NOW) == TRAINER


def test_a_leaf_without_basic_constraints_is_fine() -> None:
    """Absent means that it is no authority (RFC 5280 4.2.1.9)."""
    assert verify_peer([_forged(overrides={x509.BasicConstraints: None})], _BUNDLE, now=NOW) == TRAINER


def test_a_leaf_without_extended_usage_is_fine() -> None:
    """X509-SVID 4.4 says should."""
    assert verify_peer([_forged(overrides={x509.ExtendedKeyUsage: None})], _BUNDLE, now=NOW) == TRAINER


@pytest.mark.parametrize(
    "uris",
    [
        ["spiffe://other.org/x", str(TRAINER)],
        [str(TRAINER), "spiffe://other.org/x"],
        [str(TRAINER), "https://example.org/"],
        [str(TRAINER)] * 2,
    ],
)
def test_two_uris_are_refused_everywhere(uris: list[str]) -> None:
    """Envoy's own validator accepts them: a foreign authority could mint itself one of our names."""
    leaf = two_uris(_ISSUER, _SIGN, _PUBLIC, uris, now=NOW)
    _refused([leaf], "exactly one URI")
    for read in (spiffe_id_of, lambda der: parse_svid([der])):
        with pytest.raises(RingfenceError, match="exactly one URI"):
            read(leaf)


def test_no_uri_is_no_identity() -> None:
    """Neither without any names nor with other kinds alone."""
    _refused([forge(_ISSUER, _SIGN, _PUBLIC, names=[], now=NOW)], "no subject alternative name")
    _refused([forge(_ISSUER, _SIGN, _PUBLIC, names=[x509.DNSName("a")], now=NOW)], "exactly one URI")


@pytest.mark.parametrize(
    "uri", ["https://example.org/a", "spiffe://example.org/a/", "spiffe://EXAMPLE.org/a", "spiffe://example.org:443/a"]
)
def test_a_uri_that_is_no_spiffe_id_is_no_identity(uri: str) -> None:
    """The one spelling, in credentials, is the canonical one."""
    _refused([_forged(uri)], "is no")


def test_a_trust_domain_is_no_peer() -> None:
    """X509-SVID 5.2: the leaf's path is not the root."""
    _refused([_forged("spiffe://example.org")], "names a trust domain")


def test_another_domains_name_under_our_root_is_refused() -> None:
    """And ours under another's: each root vouches for its own domain only."""
    _refused([_forged("spiffe://other.org/a")], "not of the trust domain")
    other, other_keys = new_authority(OTHER_TD)
    forged = two_uris(other.current.x509.certificate, signer(other, other_keys), _PUBLIC, [str(TRAINER)], now=NOW)
    _refused([forged], "does not verify")
    _refused([forged], "not of the trust domain", other.bundle(1))


def test_a_signing_certificate_is_no_peer() -> None:
    """Neither the root itself nor a leaf that could sign."""
    _refused([_AUTHORITY.current.x509.der], "names a trust domain")
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    as_ca = {x509.BasicConstraints: x509.Extension(constraints.oid, critical=True, value=constraints)}
    _refused([_forged(overrides=as_ca)], "signing certificate")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({x509.KeyUsage: None}, "does not say what its key is for"),
        (_usage(critical=False), "not critical"),
        (_usage(digital_signature=False, key_agreement=True), "lacks digitalSignature"),
        (_usage(key_cert_sign=True), "signs certificates"),
        (_usage(crl_sign=True), "signs certificates or revocation lists"),
    ],
)
def test_key_usage_is_that_of_a_leaf(overrides: dict[Any, Any], says: str) -> None:
    """X509-SVID 4.3, each rule by a leaf that breaks it."""
    _refused([_forged(overrides=overrides)], says)


@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_extended_usage_is_for_both_ends(usage: x509.ObjectIdentifier) -> None:
    """X509-SVID 4.4: where it is present it has both."""
    one = x509.ExtendedKeyUsage([usage])
    _refused(
        [_forged(overrides={x509.ExtendedKeyUsage: x509.Extension(one.oid, critical=False, value=one)})], "both ends"
    )


@pytest.mark.parametrize("seconds", [-11, 3601])
def test_validity_is_judged_by_the_given_clock(seconds: int) -> None:
    """Before it begins and after it ends a leaf proves nothing; both ends are included."""
    assert verify_peer(_CHAIN, _BUNDLE, now=NOW.replace(microsecond=0) + HOUR) == TRAINER
    with pytest.raises(RingfenceError, match="does not verify"):
        verify_peer(_CHAIN, _BUNDLE, now=NOW + seconds * SECOND)


def test_a_root_that_left_the_bundle_vouches_no_more() -> None:
    """Revocation of an authority: with the empty bundle, nothing verifies."""
    _refused(_CHAIN, "no authority", SpiffeBundle(TD))
    other, _ = new_authority()
    _refused(_CHAIN, "does not verify", other.bundle(1))


def test_a_broken_signature_is_refused() -> None:
    """One bit is enough."""
    _refused([_CHAIN[0][:-1] + bytes([_CHAIN[0][-1] ^ 1])], "does not verify")


@pytest.mark.parametrize("chain", [[], [b""], [b"\x30\x00"], [_CHAIN[0], b"noise"], [_CHAIN[0]] * 9])
def test_what_is_no_chain_is_refused(chain: list[bytes]) -> None:
    """Empty, unreadable or endless."""
    _refused(chain, "a c")


_LENIENT = "ignore:(Parsed a serial number|Attribute's length)"  # cryptography warns and reads on


@pytest.mark.filterwarnings(_LENIENT)
@given(st.data())
def test_no_change_of_one_byte_gets_through(data: st.DataObject) -> None:
    """Whatever byte of the leaf is changed, the result is refused."""
    padding = (
        len(_CHAIN[0]) - len(x509.load_der_x509_certificate(_CHAIN[0]).signature) - 1
    )  # it counts unused bits: none
    at = data.draw(st.integers(0, len(_CHAIN[0]) - 1).filter(lambda at: at != padding))
    flip = data.draw(st.integers(1, 255))
    leaf = bytearray(_CHAIN[0])
    leaf[at] ^= flip
    with pytest.raises(RingfenceError) as caught:
        verify_peer([bytes(leaf)], _BUNDLE, now=NOW)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def test_an_intermediate_of_a_federated_domain_is_followed() -> None:
    """Chains of other implementations have intermediates between leaf and root."""
    middle = new_key()
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    signing = _usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    intermediate = forge(
        _ISSUER,
        _SIGN,
        middle.public_key(),
        names=[x509.UniformResourceIdentifier(TD.id)],
        now=NOW,
        overrides={
            **signing,
            x509.BasicConstraints: x509.Extension(constraints.oid, critical=True, value=constraints),
            x509.ExtendedKeyUsage: None,
        },
    )
    authority_of_middle = x509.load_der_x509_certificate(intermediate)

    def sign(data: bytes) -> bytes:
        return middle.sign(data, _ECDSA)

    leaf = forge(authority_of_middle, sign, _PUBLIC, names=[x509.UniformResourceIdentifier(str(TRAINER))], now=NOW)
    assert verify_peer([leaf, intermediate], _BUNDLE, now=NOW) == TRAINER
    _refused([leaf], "does not verify")
