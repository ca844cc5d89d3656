"""Proof of residency: what is believed, and each lie that is not. A test a guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge
from ringfence.certs.shown import common_name
from ringfence.certs.tpm.names import Alg, Attribute
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.reader import number
from ringfence.certs.tpm.residency import Residency, Resident, reside
from tests.certs.factory import Ca
from tests.certs.material import NOW, TD, new_key
from tests.certs.tpm.paper import (
    AES128,
    ATTESTATION,
    CSR,
    DATA,
    DEVID,
    ENDORSEMENT,
    PaperTpm,
    area,
    certification,
    name_of,
    signature,
)

CA, MAKER = Ca("Operator"), Ca("Maker of TPMs")
KEY = new_key()
TPM = PaperTpm(MAKER)
GOOD = TPM.evidence(CA, KEY)
_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
_USAGES += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
DER = Encoding.DER


def _usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def _reside(found: Residency, data: bytes = DATA) -> Resident:
    return reside(found, data, [CA.certificate], [MAKER.certificate], now=NOW)


def _refusal(found: Residency, data: bytes = DATA) -> str:
    with pytest.raises(RingfenceError) as caught:
        _reside(found, data)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.detail


@pytest.mark.parametrize("devid", [new_key(), rsa.generate_private_key(65537, 2048)], ids=["devid-P-256", "devid-RSA"])
@pytest.mark.parametrize("own", [new_key, lambda: rsa.generate_private_key(65537, 2048)], ids=["P-256", "RSA"])
def test_a_node_whose_keys_are_in_one_tpm_is_known(devid: Any, own: Callable[[], Any]) -> None:
    """With each kind of key: its certificate, who issued it, and whom to make the credential for."""
    tpm = PaperTpm(MAKER, own(), own())
    found = _reside(tpm.evidence(CA, devid))
    assert common_name(found.leaf.subject) == "gpu-7"
    assert found.authorities == (CA.certificate,)
    assert found.endorsement.key == tpm.endorsement.public_key()
    assert found.attestation == name_of(area(tpm.attestation, ATTESTATION))


def test_intermediates_of_the_devid_lead_to_the_root() -> None:
    """Those that were sent."""
    middle = Ca("Line 4", CA)
    evidence = TPM.evidence(middle, KEY)
    chain = (*evidence.chain, middle.certificate.public_bytes(DER))
    assert _reside(replace(evidence, chain=chain)).authorities == (middle.certificate, CA.certificate)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"chain": ()}, "1 to 4"),
        ({"chain": GOOD.chain * 5}, "1 to 4"),
        ({"chain": (b"x" * 8193,)}, "at most 8192"),
        ({"chain": (b"nonsense",)}, "cannot be read"),
        ({"endorsement_certificate": b""}, "cannot be read"),
        ({"endorsement_certificate": b"x" * 8193}, "at most 8192"),
        ({"devid": b""}, "the DevID key's public area"),
        ({"endorsement": b""}, "the endorsement key's public area"),
        ({"attestation": b""}, "the attestation key's public area"),
        ({"certification": b""}, "the certification"),
        ({"signature": b""}, "the signature over the challenge"),
        ({"certification_signature": b""}, "the certification"),
    ],
)
def test_what_is_missing_or_too_large_is_named(fields: dict[str, Any], says: str) -> None:
    """Before any key is used."""
    assert says in _refusal(replace(GOOD, **fields))


def test_a_copied_devid_certificate_is_of_another_key() -> None:
    """It is public: another TPM's own key beside it proves nothing."""
    other = TPM.evidence(CA, new_key())
    assert "not of the DevID key" in _refusal(replace(other, chain=GOOD.chain))


def test_a_copied_endorsement_certificate_is_of_another_key() -> None:
    """Public too."""
    mine = PaperTpm(MAKER).evidence(CA, KEY)
    stolen = replace(mine, endorsement_certificate=GOOD.endorsement_certificate)
    assert "not of the endorsement key" in _refusal(stolen)


@pytest.mark.parametrize("lacking", [Attribute.FIXED_TPM, Attribute.FIXED_PARENT, Attribute.SENSITIVE_DATA_ORIGIN])
def test_a_devid_key_that_may_be_elsewhere_too_is_refused(lacking: Attribute) -> None:
    """Imported into the TPM, or duplicated out of it: it says so itself, and the certification repeats it."""
    devid = area(KEY, DEVID & ~lacking)
    assert "the DevID key is no signing key" in _refusal(TPM.certifies(GOOD, devid))


@pytest.mark.parametrize("attributes", [DEVID & ~Attribute.SIGN, DEVID | Attribute.DECRYPT])
def test_a_devid_key_signs_and_does_nothing_else(attributes: int) -> None:
    """One that decrypts could be made to sign by decrypting."""
    assert "the DevID key is no signing key" in _refusal(TPM.certifies(GOOD, area(KEY, attributes)))


def test_the_devid_key_signs_this_very_challenge() -> None:
    """Another nonce, another request, another trust domain and another attestor make another one each."""
    for other in (
        challenge(TD, b"m" * 32, CSR, attestor="tpm_devid"),
        challenge(TD, bytes(range(32)), b"another", attestor="tpm_devid"),
        challenge(type(TD)("other.org"), bytes(range(32)), CSR, attestor="tpm_devid"),
        challenge(TD, bytes(range(32)), CSR),
    ):
        assert "the signature over the challenge is not by" in _refusal(GOOD, other)
    assert "not by the key" in _refusal(replace(GOOD, signature=signature(new_key(), DATA)))


@pytest.mark.parametrize(
    "attributes",
    [
        ATTESTATION & ~Attribute.RESTRICTED,
        ATTESTATION & ~Attribute.SIGN,
        ATTESTATION & ~Attribute.FIXED_TPM,
        ATTESTATION & ~Attribute.FIXED_PARENT,
        ATTESTATION & ~Attribute.SENSITIVE_DATA_ORIGIN,
        ATTESTATION | Attribute.DECRYPT,
    ],
)
def test_an_attestation_key_signs_nothing_but_what_its_tpm_says(attributes: int) -> None:
    """One without the restriction signs whatever it is given, a lie about the DevID key too."""
    lying = replace(GOOD, attestation=area(TPM.attestation, attributes))
    assert "the attestation key is no restricted signing key" in _refusal(lying)


def test_the_certification_is_the_attestation_keys() -> None:
    """Of the very bytes that are read."""
    forged = replace(GOOD, certification_signature=signature(new_key(), GOOD.certification))
    assert "the certification of the DevID key is not by" in _refusal(forged)


def test_the_certification_is_for_this_challenge() -> None:
    """An old one says what the TPM once held."""
    old = certification(name_of(GOOD.devid), b"another challenge")
    found = replace(GOOD, certification=old, certification_signature=signature(TPM.attestation, old))
    assert "for another challenge" in _refusal(found)


def test_the_certification_is_of_the_devid_key() -> None:
    """A key outside of the TPM, beside the certification of one that is in it."""
    outside = new_key()
    found = replace(TPM.evidence(CA, outside), certification=GOOD.certification)
    found = replace(found, certification_signature=GOOD.certification_signature)
    assert "of another key than the DevID key" in _refusal(found)


def test_the_certification_is_one_of_a_tpm() -> None:
    """A quote, or what no TPM generated, is none though the attestation key signed it."""
    assert "not of TPM2_Certify" in _refusal(TPM.certifies(GOOD, GOOD.devid, kind=0x8018))
    assert "no TPM made it" in _refusal(TPM.certifies(GOOD, GOOD.devid, magic=0))


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "signing certificate"),
        (_usage("key_encipherment"), "key usage"),
        (_usage("digital_signature", "key_cert_sign"), "key usage"),
    ],
)
def test_a_devid_certificate_is_a_nodes(extension: x509.ExtensionType, says: str) -> None:
    """Neither an authority's, nor one that may not sign."""
    assert says in _refusal(replace(GOOD, chain=(CA.issue(KEY, "x", extension),)))


@pytest.mark.parametrize(
    "extension", [_usage("digital_signature"), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])]
)
def test_what_else_a_devid_certificate_is_for_does_not_matter(extension: x509.ExtensionType) -> None:
    """As with SPIRE: makers write all kinds of purposes into them."""
    assert _reside(replace(GOOD, chain=(CA.issue(KEY, "x", extension),)))


def test_a_devid_certificate_of_another_authority_is_refused() -> None:
    """Though it has the same name; and the authorities of TPMs are none of DevIDs."""
    for other in (Ca("Operator"), MAKER):
        assert "the DevID certificate does not verify" in _refusal(replace(GOOD, chain=(other.issue(KEY),)))


@pytest.mark.parametrize("times", [{"end": NOW - timedelta(seconds=1)}, {"start": NOW + timedelta(seconds=1)}])
def test_certificates_are_good_in_their_time_only(times: dict[str, Any]) -> None:
    """Both of them."""
    assert "the DevID certificate does not" in _refusal(replace(GOOD, chain=(CA.issue(KEY, **times),)))
    old = replace(GOOD, endorsement_certificate=TPM.certificate(**times))
    assert "the endorsement certificate does not" in _refusal(old)


@pytest.mark.parametrize(
    "attributes",
    [
        ENDORSEMENT & ~Attribute.RESTRICTED,
        ENDORSEMENT & ~Attribute.DECRYPT,
        ENDORSEMENT & ~Attribute.FIXED_TPM,
        ENDORSEMENT | Attribute.SIGN,
    ],
)
def test_an_endorsement_key_opens_credentials_and_nothing_else(attributes: int) -> None:
    """One that decrypts whatever it is given would open a credential without looking for the attestation key."""
    other = replace(GOOD, endorsement=area(TPM.endorsement, attributes, symmetric=AES128))
    assert "the endorsement key is no restricted decryption key" in _refusal(other)


def test_an_endorsement_key_is_one_that_credentials_are_made_for() -> None:
    """Others are refused before their certificate is followed."""
    tpm = PaperTpm(Ca(), ec.generate_private_key(ec.SECP384R1()))
    assert "neither RSA nor on P-256" in _refusal(tpm.evidence(CA, KEY))
    weak = replace(GOOD, endorsement=area(TPM.endorsement, ENDORSEMENT, symmetric=number(Alg.NULL, 2)))
    assert "neither RSA nor on P-256" in _refusal(weak)


def test_a_tpm_of_another_maker_is_refused() -> None:
    """One in software is made in a second; and the operator's authority vouches for no TPM."""
    for other in (Ca("Maker of TPMs"), CA):
        assert "the endorsement certificate does not" in _refusal(PaperTpm(other).evidence(CA, KEY))


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "no endorsement key"),
        (_usage("digital_signature"), "key usage"),
        (_usage("key_encipherment"), "key usage"),  # of an RSA key
        (_usage("key_agreement", "key_cert_sign"), "key usage"),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.2")]), "something else"),  # a platform's
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.3")]), "something else"),  # an attestation key's
    ],
)
def test_an_endorsement_certificate_is_for_an_endorsement_key(extension: x509.ExtensionType, says: str) -> None:
    """A maker issues others too."""
    assert says in _refusal(replace(GOOD, endorsement_certificate=TPM.certificate(extension)))


def test_an_endorsement_certificate_as_makers_write_it_is_taken() -> None:
    """With its purpose, and no name but in a critical alternative one (TCG EK Credential Profile, 3.2)."""
    name = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:00001014")]))
    purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])
    certificate = TPM.certificate(x509.SubjectAlternativeName([name]), purpose, _usage("key_agreement"))
    assert _reside(replace(GOOD, endorsement_certificate=certificate))
    tpm = PaperTpm(MAKER, rsa.generate_private_key(65537, 2048))
    found = replace(tpm.evidence(CA, KEY), endorsement_certificate=tpm.certificate(_usage("key_encipherment")))
    assert _reside(found)


@pytest.mark.parametrize("roots", [([], [MAKER.certificate]), ([CA.certificate], [])])
def test_no_authority_believes_nobody(roots: tuple[list[Any], list[Any]]) -> None:
    """Of either kind: nothing configured is nothing allowed."""
    with pytest.raises(RingfenceError, match="no authority"):
        reside(GOOD, DATA, *roots, now=NOW)


@given(st.sampled_from(["devid", "endorsement", "attestation", "certification", "signature"]), st.binary(max_size=200))
def test_garbage_is_refused_in_words(field: str, data: bytes) -> None:
    """Whatever comes, it is UNAUTHENTICATED and nothing else."""
    _refusal(replace(GOOD, **{field: data}))


def test_a_proof_shows_no_signature_where_it_is_printed() -> None:
    """A log line of it is no material to replay."""
    shown = repr(replace(GOOD, signature=b"secret", certification_signature=b"secret"))
    assert "secret" not in shown


def test_what_was_read_is_what_was_named() -> None:
    """The name that the credential is made for is of the bytes that were judged."""
    assert _reside(GOOD).attestation == PublicArea.parse(GOOD.attestation, "it").name
