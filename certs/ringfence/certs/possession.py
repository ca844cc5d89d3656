"""Proof of possession: whoever holds the key of a certificate that a configured authority issued signs our nonce.

What a peer sends before it has proved anything is bounded here before it costs any arithmetic: the verification of a
chain of large keys is what a stranger could keep a server busy with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

MAX_CHAIN = 4  # certificates, the leaf among them
MAX_CERTIFICATE = 8 << 10  # bytes
MAX_SIGNATURE = 512  # bytes, of an RSA key of 4096 bits
MIN_RSA, MAX_RSA = 2048, 4096  # bits
MAX_EXPONENT = 65537  # a greater one makes verification slow at the sender's will
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LABEL = b"ringfence x509pop 1"
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Possession:
    """What a peer sends: a chain (DER, leaf first, root left out) and what the leaf's key made of the nonce."""

    chain: tuple[bytes, ...]
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Possessor:
    """Who was proved: the leaf, and the fingerprints (SHA-256, hex) of the authorities above it, nearest first."""

    leaf: x509.Certificate
    fingerprint: str
    authorities: tuple[str, ...]

    @property
    def common_name(self) -> str:
        """The subject's one common name, or empty: of several none is the one."""
        names = self.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        value = names[0].value if len(names) == 1 else ""
        return value if isinstance(value, str) else ""


def challenge(trust_domain: TrustDomain, nonce: bytes, csr: bytes) -> bytes:
    """What the leaf's key signs: a label, for whom, the server's nonce and which request the proof is to be good for.

    The label keeps the key from being used as an oracle for anything else; the digest of the request makes a proof
    that is passed on worthless to whoever passes it on.
    """
    return b"\n".join((_LABEL, trust_domain.name.encode(), nonce.hex().encode(), hashlib.sha256(csr).digest()))


def possess(key: PrivateKey, data: bytes) -> bytes:
    """The signature of *key* over *data*: ECDSA, or RSA-PSS, with SHA-256."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PSS, hashes.SHA256())
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def prove(shown: Possession, data: bytes, roots: Sequence[x509.Certificate], *, now: datetime) -> Possessor:
    """Who holds the key of the leaf that *shown* shows and a path from *roots* leads to; raises UNAUTHENTICATED."""
    # 1. Small enough to look at.
    _check_sizes(shown)
    # 2. Every certificate can be read, and no key in it is costly.
    leaf, *others = [_certificate(der) for der in shown.chain]
    for certificate in (leaf, *others):
        _check_key(certificate)
    # 3. The leaf's key signed this very challenge: one signature, before any path is looked for.
    _check_signature(leaf, shown.signature, data)
    # 4. The leaf is no authority, and may sign and authenticate a client.
    _check_usage(leaf)
    # 5. A path leads to a configured authority, and all of it is valid now (RFC 5280 section 6).
    path = _path(leaf, others, roots, now)
    fingerprints = tuple(_fingerprint(certificate) for certificate in path[1:])
    if not fingerprints:
        raise _refused("no authority stands above the certificate")
    return Possessor(leaf, _fingerprint(leaf), fingerprints)


def _check_sizes(shown: Possession) -> None:
    if not 0 < len(shown.chain) <= MAX_CHAIN:
        raise _refused(f"a chain has 1 to {MAX_CHAIN} certificates, this one {len(shown.chain)}")
    if any(len(der) > MAX_CERTIFICATE for der in shown.chain):
        raise _refused(f"a certificate has at most {MAX_CERTIFICATE} bytes")
    if not 0 < len(shown.signature) <= MAX_SIGNATURE:
        raise _refused(f"a signature has 1 to {MAX_SIGNATURE} bytes")


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return read_certificate(der)
    except ValueError:
        raise _refused("a certificate cannot be read") from None


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA <= key.key_size <= MAX_RSA or key.public_numbers().e > MAX_EXPONENT:
            raise _refused(f"an RSA key has {MIN_RSA} to {MAX_RSA} bits and an exponent of at most {MAX_EXPONENT}")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _refused("a certificate's key is neither RSA nor on a NIST curve")


def _check_signature(leaf: x509.Certificate, signature: bytes, data: bytes) -> None:
    key = leaf.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, _PSS, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            raise _refused("a certificate's key is neither RSA nor on a NIST curve")
    except InvalidSignature:
        raise _refused("the challenge is not signed by the certificate's key") from None


def _check_usage(leaf: x509.Certificate) -> None:
    found = {type(extension.value): extension.value for extension in leaf.extensions}
    constraints = found.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise _refused("a signing certificate identifies no node")
    usage = found.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and (not usage.digital_signature or usage.key_cert_sign):
        raise _refused("the certificate's key usage is not that of a node")
    extended = found.get(x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if isinstance(extended, x509.ExtendedKeyUsage) and not allowed & set(extended):
        raise _refused("the certificate is not for client authentication")


def _path(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> Sequence[x509.Certificate]:
    if not roots:
        raise _refused("no authority is configured")
    # Device certificates often have no name but a common name, so nothing is demanded of the leaf's names.
    ee = ExtensionPolicy.permit_all()
    ca = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_certify)
    )
    builder = PolicyBuilder().store(Store(list(roots))).time(now).max_chain_depth(MAX_CHAIN)
    verifier = builder.extension_policies(ca_policy=ca, ee_policy=ee).build_client_verifier()
    try:
        return verifier.verify(leaf, list(others)).chain
    except VerificationError as error:
        raise _refused(f"the certificate does not verify: {error}") from None


def _is_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is no authority")


def _may_certify(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _refused(detail: str) -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail)
