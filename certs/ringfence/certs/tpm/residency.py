"""Proof of residency: the key of a DevID certificate lives in the TPM that an endorsement certificate is of.

Three keys of one TPM vouch for each other. The attestation key says what the DevID key is and that this TPM has it; it
says nothing but the truth if it is of the TPM itself, which the credential that is made from what is found here proves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ringfence.certs import shown as certificates
from ringfence.certs.shown import refused
from ringfence.certs.tpm.certification import Certification
from ringfence.certs.tpm.credential import check_endorsement
from ringfence.certs.tpm.names import Attribute
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.signature import verify

_OF_THIS_TPM = (Attribute.FIXED_TPM, Attribute.FIXED_PARENT, Attribute.SENSITIVE_DATA_ORIGIN)
_ENDORSEMENT = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate

Roots = Sequence[x509.Certificate]


@dataclass(frozen=True, slots=True)
class Residency:
    """What a node sends: certificates in DER, the rest as its TPM wrote it."""

    chain: tuple[bytes, ...]  # the DevID certificate, and intermediates
    devid: bytes  # TPMT_PUBLIC
    signature: bytes = field(repr=False)  # TPMT_SIGNATURE of the DevID key over the challenge
    endorsement_certificate: bytes
    endorsement: bytes  # TPMT_PUBLIC
    attestation: bytes  # TPMT_PUBLIC
    certification: bytes  # TPMS_ATTEST
    certification_signature: bytes = field(repr=False)  # TPMT_SIGNATURE of the attestation key over it


@dataclass(frozen=True, slots=True)
class Resident:
    """Who it is once the TPM of `endorsement` has shown that the key of the name `attestation` is in it."""

    leaf: x509.Certificate  # of the DevID
    authorities: tuple[x509.Certificate, ...]  # above it, nearest first
    endorsement: PublicArea
    attestation: bytes


def qualification(data: bytes) -> bytes:
    """What the attestation key says with the DevID key's name: the challenge's SHA-256, so that it is no old one."""
    return hashlib.sha256(data).digest()


def reside(found: Residency, data: bytes, devid_roots: Roots, endorsement_roots: Roots, *, now: datetime) -> Resident:
    """Who *found* claims to be for the challenge *data*, all but the last proof done; raises UNAUTHENTICATED."""
    # 1. Small enough to look at, and readable: certificates, then what the TPM wrote.
    certificates.check_chain_sizes(found.chain)
    certificates.check_chain_sizes([found.endorsement_certificate])
    leaf, *others = certificates.read_shown(found.chain)
    [endorsement_certificate] = certificates.read_shown([found.endorsement_certificate])
    devid = PublicArea.parse(found.devid, "the DevID key's public area")
    endorsement = PublicArea.parse(found.endorsement, "the endorsement key's public area")
    attestation = PublicArea.parse(found.attestation, "the attestation key's public area")
    certification = Certification.parse(found.certification)
    # 2. The DevID certificate is of the DevID key, the endorsement certificate of the endorsement key.
    if leaf.public_key() != devid.key:
        raise refused("the DevID certificate is not of the DevID key")
    if endorsement_certificate.public_key() != endorsement.key:
        raise refused("the endorsement certificate is not of the endorsement key")
    # 3. The DevID key was made in a TPM, never leaves it, and signed this very challenge.
    if not devid.has(Attribute.SIGN, *_OF_THIS_TPM) or devid.has(Attribute.DECRYPT):
        raise refused("the DevID key is no signing key that was made in a TPM and stays there")
    verify(devid.key, found.signature, data, "the signature over the challenge")
    # 4. The attestation key is such a key too, and signs nothing but what its TPM says.
    own = attestation.has(Attribute.SIGN, Attribute.RESTRICTED, *_OF_THIS_TPM)
    if not own or attestation.has(Attribute.DECRYPT):
        raise refused("the attestation key is no restricted signing key that was made in a TPM and stays there")
    # 5. It says, for this very challenge, that its TPM holds the DevID key: as a certification, of that name.
    verify(attestation.key, found.certification_signature, found.certification, "the certification of the DevID key")
    if certification.qualifying != qualification(data):
        raise refused("the certification of the DevID key is for another challenge")
    if certification.name != devid.name:
        raise refused("the certification is of another key than the DevID key")
    # 6. The DevID certificate is a node's, and a path leads to a configured authority.
    _check_devid_usage(leaf)
    above = certificates.path_above(leaf, others, devid_roots, now, what="the DevID certificate")
    # 7. The endorsement key is one that opens credentials and nothing else; its certificate is for that, and leads to
    #    an authority of TPMs.
    check_endorsement(endorsement)
    own = endorsement.has(Attribute.DECRYPT, Attribute.RESTRICTED, *_OF_THIS_TPM)
    if not own or endorsement.has(Attribute.SIGN):
        raise refused("the endorsement key is no restricted decryption key that was made in a TPM and stays there")
    _check_endorsement_usage(endorsement_certificate)
    certificates.path_above(endorsement_certificate, (), endorsement_roots, now, what="the endorsement certificate")
    return Resident(leaf, tuple(above), endorsement, attestation.name)


def _check_devid_usage(leaf: x509.Certificate) -> None:
    found = _extensions(leaf)
    if _is_authority(found):
        raise refused("a signing certificate identifies no node")
    usage = found.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and (not usage.digital_signature or usage.key_cert_sign):
        raise refused("the DevID certificate's key usage is not that of a node")


def _check_endorsement_usage(certificate: x509.Certificate) -> None:
    found = _extensions(certificate)
    if _is_authority(found):
        raise refused("an authority's certificate is of no endorsement key")
    usage = found.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage):
        is_rsa = isinstance(certificate.public_key(), rsa.RSAPublicKey)
        if usage.key_cert_sign or not (usage.key_encipherment if is_rsa else usage.key_agreement):
            raise refused("the endorsement certificate's key usage is not that of an endorsement key")
    extended = found.get(x509.ExtendedKeyUsage)
    if isinstance(extended, x509.ExtendedKeyUsage) and _ENDORSEMENT not in extended:
        raise refused("the certificate is for something else than an endorsement key")


def _extensions(certificate: x509.Certificate) -> dict[type, x509.ExtensionType]:
    return {type(extension.value): extension.value for extension in certificate.extensions}


def _is_authority(found: dict[type, x509.ExtensionType]) -> bool:
    constraints = found.get(x509.BasicConstraints)
    return isinstance(constraints, x509.BasicConstraints) and constraints.ca
