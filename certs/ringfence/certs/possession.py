"""Proof of possession: whoever holds the key of a certificate that a configured authority issued signs our nonce."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ringfence.certs import shown as certificates
from ringfence.certs.shown import refused
from ringfence.certs.spiffe_id import TrustDomain

MAX_SIGNATURE = 512  # bytes, of an RSA key of 4096 bits
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
        """The subject's one common name, or empty."""
        return certificates.common_name(self.leaf.subject)


def challenge(trust_domain: TrustDomain, nonce: bytes, csr: bytes, *, attestor: str = "x509pop") -> bytes:
    """What the leaf's key signs: a label, for whom, the server's nonce and which request the proof is to be good for.

    The label keeps the key from being used as an oracle for anything else; the digest of the request makes a proof
    that is passed on worthless to whoever passes it on.
    """
    label = f"ringfence {attestor} 1".encode()
    return b"\n".join((label, trust_domain.name.encode(), nonce.hex().encode(), hashlib.sha256(csr).digest()))


def possess(key: PrivateKey, data: bytes) -> bytes:
    """The signature of *key* over *data*: ECDSA, or RSA-PSS, with SHA-256."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PSS, hashes.SHA256())
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def prove(shown: Possession, data: bytes, roots: Sequence[x509.Certificate], *, now: datetime) -> Possessor:
    """Who holds the key of the leaf that *shown* shows and a path from *roots* leads to; raises UNAUTHENTICATED."""
    # 1. Small enough to look at.
    certificates.check_chain_sizes(shown.chain)
    if not 0 < len(shown.signature) <= MAX_SIGNATURE:
        raise refused(f"a signature has 1 to {MAX_SIGNATURE} bytes")
    # 2. Every certificate can be read, and no key in it is costly.
    leaf, *others = certificates.read_shown(shown.chain)
    # 3. The leaf's key signed this very challenge: one signature, before any path is looked for.
    _check_signature(leaf, shown.signature, data)
    # 4. The leaf is no authority, and may sign and authenticate a client.
    _check_usage(leaf)
    # 5. A path leads to a configured authority, and all of it is valid now.
    above = certificates.path_above(leaf, others, roots, now)
    return Possessor(leaf, certificates.fingerprint(leaf), tuple(map(certificates.fingerprint, above)))


def _check_signature(leaf: x509.Certificate, signature: bytes, data: bytes) -> None:
    key = leaf.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, _PSS, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            raise refused("a certificate's key is neither RSA nor on a NIST curve")
    except InvalidSignature:
        raise refused("the challenge is not signed by the certificate's key") from None


def _check_usage(leaf: x509.Certificate) -> None:
    found = {type(extension.value): extension.value for extension in leaf.extensions}
    constraints = found.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise refused("a signing certificate identifies no node")
    usage = found.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and (not usage.digital_signature or usage.key_cert_sign):
        raise refused("the certificate's key usage is not that of a node")
    extended = found.get(x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if isinstance(extended, x509.ExtendedKeyUsage) and not allowed & set(extended):
        raise refused("the certificate is not for client authentication")
