"""X.509 authorities below ours: the draft, the rules it must meet, and the check of what was signed.

As with leaves the order is draft, check, record, sign, check; the request gave a public key and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.certificate import issuer_key_id, read_certificate, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE, SERIAL_BITS, new_serial
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.tbs import CA_BASIC_CONSTRAINTS, CA_KEY_USAGE, LeafTemplate, authority_tbs

_EXTENSIONS = 5  # basic constraints, key usage, both key identifiers, the name


@dataclass(frozen=True, slots=True)
class AuthorityDraft:
    """All that the certificate of an authority below ours will say. Times are aware UTC in whole seconds."""

    trust_domain: TrustDomain
    public_key: ec.EllipticCurvePublicKey
    serial: int
    not_before: datetime
    not_after: datetime


def draft_authority(
    trust_domain: TrustDomain,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    *,
    now: datetime,
    ttl: timedelta,
) -> AuthorityDraft:
    """A draft valid from 10 s ago for *ttl* from *now*, within the life of *issuer*; raises UNAVAILABLE."""
    begins = max((now - BACKDATE).replace(microsecond=0), issuer.not_valid_before_utc)
    ends = min((now + ttl).replace(microsecond=0), issuer.not_valid_after_utc)
    if not begins <= now < ends:
        raise RingfenceError(
            Kind.UNAVAILABLE,
            f"nothing can be signed now by an authority that ends at {issuer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            hint="Check the clocks and the ttl",
        )
    return AuthorityDraft(trust_domain, public_key, new_serial(), begins, ends)


def lay_out(draft: AuthorityDraft, issuer: x509.Certificate) -> bytes:
    """The TBSCertificate of *draft* under *issuer*, ready to sign; raises INVALID for one that must not be signed."""
    # 1. The serial is positive and fits 128 bits (RFC 5280 4.1.2.2).
    if not 0 < draft.serial < 1 << SERIAL_BITS:
        raise RingfenceError(Kind.INVALID, "the serial number is out of range")
    # 2. It lies within the life of whoever signs it, and lives for a while.
    within = issuer.not_valid_before_utc <= draft.not_before and draft.not_after <= issuer.not_valid_after_utc
    if not within or draft.not_before >= draft.not_after:
        raise RingfenceError(Kind.INVALID, "the authority would outlive the one above it, or not live at all")
    return authority_tbs(
        draft.trust_domain,
        draft.public_key,
        serial=draft.serial,
        not_before=draft.not_before,
        not_after=draft.not_after,
        above=LeafTemplate.of(issuer),
    )


def check_authority(signed: bytes, draft: AuthorityDraft, issuer: x509.Certificate) -> None:
    """Refuse *signed* (DER) unless it is *draft* under the signature of *issuer*; raises INVALID."""
    # 1. It can be read, by a parser that shares nothing with the encoder.
    try:
        cert = read_certificate(signed)
    except ValueError:
        raise _differs("form") from None
    # 2. It says what the draft says, and no more.
    if wrong := [what for what, same in _compared(cert, draft, issuer) if not same]:
        raise _differs(", ".join(wrong))
    # 3. The issuer's key made the signature.
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise _differs("signature") from None


def _compared(cert: x509.Certificate, draft: AuthorityDraft, issuer: x509.Certificate) -> list[tuple[str, bool]]:
    try:
        constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = cert.extensions.get_extension_for_class(x509.KeyUsage)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [("extensions", False)]
    own_id = x509.SubjectKeyIdentifier.from_public_key(draft.public_key).digest.hex()
    return [
        ("serial", cert.serial_number == draft.serial),
        ("public key", cert.public_key() == draft.public_key),
        ("life", (cert.not_valid_before_utc, cert.not_valid_after_utc) == (draft.not_before, draft.not_after)),
        ("issuer", cert.issuer == issuer.subject and issuer_key_id(cert) == subject_key_id(issuer)),
        ("key identifier", subject_key_id(cert) == own_id),
        ("constraints", constraints.critical and constraints.value == CA_BASIC_CONSTRAINTS),
        ("usage", usage.critical and usage.value == CA_KEY_USAGE),
        ("name", list(names) == [x509.UniformResourceIdentifier(draft.trust_domain.id)]),
        ("extensions", len(cert.extensions) == _EXTENSIONS),
    ]


def _differs(what: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"the authority that was signed differs from its draft in: {what}")
