"""Certificates that a stranger shows: bounded before they cost any arithmetic, then read, then led to an authority.

The verification of a chain of large keys is what a stranger could keep a server busy with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
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

MAX_CHAIN = 4  # certificates, the leaf among them
MAX_CERTIFICATE = 8 << 10  # bytes
MIN_RSA, MAX_RSA = 2048, 4096  # bits
MAX_EXPONENT = 65537  # a greater one makes verification slow at the sender's will
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def check_chain_sizes(chain: Sequence[bytes]) -> None:
    """Raise UNAUTHENTICATED for a chain that is not worth reading."""
    if not 0 < len(chain) <= MAX_CHAIN:
        raise refused(f"a chain has 1 to {MAX_CHAIN} certificates, this one {len(chain)}")
    if any(len(der) > MAX_CERTIFICATE for der in chain):
        raise refused(f"a certificate has at most {MAX_CERTIFICATE} bytes")


def read_shown(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Every certificate of it, none with a costly key; raises UNAUTHENTICATED."""
    certificates = [_certificate(der) for der in chain]
    for certificate in certificates:
        _check_key(certificate)
    return certificates


def path_above(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
    *,
    what: str = "the certificate",
) -> Sequence[x509.Certificate]:
    """The authorities from *leaf* to one of *roots*, nearest first, all valid *now* (RFC 5280 section 6).

    Raises UNAUTHENTICATED, naming *what*, where there is no such path.
    """
    if not roots:
        raise refused("no authority is configured")
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
        above = verifier.verify(leaf, list(others)).chain[1:]
    except VerificationError as error:
        raise refused(f"{what} does not verify: {error}") from None
    if not above:
        raise refused(f"no authority stands above {what}")
    return above


def common_name(name: x509.Name) -> str:
    """The one common name, or empty: of several none is the one."""
    names = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    value = names[0].value if len(names) == 1 else ""
    return value if isinstance(value, str) else ""


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of it, in hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def refused(detail: str) -> RingfenceError:
    """The error that proves nothing."""
    return RingfenceError(Kind.UNAUTHENTICATED, detail)


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return read_certificate(der)
    except ValueError:
        raise refused("a certificate cannot be read") from None


def _check_key(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA <= key.key_size <= MAX_RSA or key.public_numbers().e > MAX_EXPONENT:
            raise refused(f"an RSA key has {MIN_RSA} to {MAX_RSA} bits and an exponent of at most {MAX_EXPONENT}")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise refused("a certificate's key is neither RSA nor on a NIST curve")


def _is_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer is no authority")


def _may_certify(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")
