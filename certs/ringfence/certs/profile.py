"""What a leaf certificate of ours is: the draft, the rules it must meet, and the request it starts from.

The order is always draft, check, record, sign, check. A signing request gives a public key and nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ringfence.certs.attempt import each, only
from ringfence.certs.der import parts
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId, TrustDomain

BACKDATE = timedelta(seconds=10)  # clocks of peers may lag by as much
SERIAL_BITS = 128
MAX_DNS_NAMES = 64
_MAX_DNS_NAME = 253
_MAX_COMMON_NAME = 64  # ub-common-name, RFC 5280 appendix A.1
_DNS_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_CURVES = ("secp256r1", "secp384r1")
_DIGESTS: dict[type | None, ec.ECDSA] = {
    digest: ec.ECDSA(digest()) for digest in (hashes.SHA256, hashes.SHA384, hashes.SHA512)
}

SUBJECT = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ringfence")])
_NO_OFFSET = timedelta(0)
_SUBJECT_DER = SUBJECT.public_bytes()
BASIC_CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)
KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=True,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclass(frozen=True, slots=True)
class LeafDraft:
    """All that a leaf certificate will say of its holder. Times are aware UTC in whole seconds, both ends included."""

    spiffe_id: SpiffeId
    public_key: ec.EllipticCurvePublicKey
    serial: int
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    spki: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spki = self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        object.__setattr__(self, "spki", spki)

    @property
    def subject(self) -> bytes:
        """The DER of `O=Ringfence`, and of the first DNS name as common name where it fits: some clients read that."""
        if not self.dns_names or len(self.dns_names[0]) > _MAX_COMMON_NAME:
            return _SUBJECT_DER
        return x509.Name([*SUBJECT, x509.NameAttribute(NameOID.COMMON_NAME, self.dns_names[0])]).public_bytes()


def draft_leaf(
    spiffe_id: SpiffeId,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    ttl: timedelta,
    issuer_not_after: datetime,
    issuer_not_before: datetime | None = None,
    dns_names: tuple[str, ...] = (),
    ip_addresses: tuple[IPv4Address | IPv6Address, ...] = (),
) -> LeafDraft:
    """A draft valid from 10 s ago for *ttl* from *now*, within the issuer's own life."""
    starts = (now - BACKDATE).replace(microsecond=0)
    return LeafDraft(
        spiffe_id=spiffe_id,
        public_key=public_key,
        serial=new_serial(),
        not_before=max(starts, issuer_not_before or starts),
        not_after=min((now + ttl).replace(microsecond=0), issuer_not_after),
        dns_names=dns_names,
        ip_addresses=ip_addresses,
    )


def check_draft(draft: LeafDraft, *, trust_domain: TrustDomain) -> None:
    """Refuse a draft that must never be signed; raises INVALID, or DENIED for another trust domain's name."""
    # 1. The name is of this trust domain, and names a workload: the root path is the authority's own (X509-SVID 3.1).
    if draft.spiffe_id.trust_domain != trust_domain:
        raise RingfenceError(Kind.DENIED, f"{draft.spiffe_id} is not of the trust domain {trust_domain}")
    if not draft.spiffe_id.path:
        raise RingfenceError(Kind.INVALID, f"{draft.spiffe_id} names a trust domain, no workload")
    # 2. The key is one of ours to certify.
    _check_curve(draft.public_key)
    # 3. The serial is positive and fits 128 bits (RFC 5280 4.1.2.2 allows 20 octets).
    if not 0 < draft.serial < 1 << SERIAL_BITS:
        raise RingfenceError(Kind.INVALID, "the serial number is out of range")
    # 4. Its times are UTC in whole seconds, as they will be written, and it lives for a while.
    if not _is_written_as_it_is(draft.not_before) or not _is_written_as_it_is(draft.not_after):
        raise RingfenceError(Kind.INVALID, "the times of an SVID are aware UTC in whole seconds")
    if draft.not_after <= draft.not_before + BACKDATE:
        raise RingfenceError(
            Kind.INVALID,
            f"an SVID for {draft.spiffe_id} would end as it begins",
            hint="Check the clock, the ttl and the age of the authority",
        )
    # 5. Other names are plain host names, few, and addresses are for the control plane only.
    _check_names(draft)


def csr_public_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key a request was signed with, its possession proven; subject and extensions of the request are not read."""
    return only(csr_public_keys([der]))


def csr_public_keys(requests: Iterable[bytes]) -> list[ec.EllipticCurvePublicKey | RingfenceError]:
    """The same of each of *requests* (PKCS #10 DER), or why it is refused."""
    return each(_proven, each(_read_request, requests))


def new_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request (PKCS #10 DER) that says nothing but its key."""
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def new_serial() -> int:
    """A positive serial number of 128 random bits (RFC 5280 4.1.2.2)."""
    return int.from_bytes(os.urandom(SERIAL_BITS // 8), "big") or new_serial()


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that was read: nothing of it is proven yet."""

    key: ec.EllipticCurvePublicKey
    scheme: ec.ECDSA
    signature: bytes
    signed: bytes


def _read_request(der: bytes) -> _Request:
    # 1. It is a PKCS #10 request with a key that we certify.
    try:
        request = x509.load_der_x509_csr(der)
        key, digest = request.public_key(), request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise RingfenceError(Kind.INVALID, "the certificate signing request cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RingfenceError(Kind.INVALID, "the certificate signing request has no elliptic curve key")
    _check_curve(key)
    # 2. The digest is not one that can be made to collide.
    scheme = _DIGESTS.get(type(digest))
    if scheme is None:
        raise RingfenceError(Kind.INVALID, "the certificate signing request is signed over a weak digest")
    return _Request(key, scheme, request.signature, parts(der)[0])


def _proven(request: _Request) -> ec.EllipticCurvePublicKey:
    # 3. Whoever sent it holds the key.
    try:
        request.key.verify(request.signature, request.signed, request.scheme)
    except InvalidSignature:
        raise RingfenceError(Kind.INVALID, "the certificate signing request is not signed by its own key") from None
    return request.key


def _check_curve(key: ec.EllipticCurvePublicKey) -> None:
    if key.curve.name not in _CURVES:
        raise RingfenceError(Kind.INVALID, f"keys on {key.curve.name} are not certified", hint="Use P-256 or P-384")


def _is_written_as_it_is(moment: datetime) -> bool:
    return not moment.microsecond and (moment.tzinfo is UTC or moment.utcoffset() == _NO_OFFSET)


def _check_names(draft: LeafDraft) -> None:
    for name in draft.dns_names:
        if len(name) > _MAX_DNS_NAME or not _DNS_NAME.fullmatch(name):
            raise RingfenceError(
                Kind.INVALID, f"{name!r} is no DNS name", hint="Use lower-case labels; wildcards are not certified"
            )
    if len(set(draft.dns_names)) != len(draft.dns_names) or len(draft.dns_names) > MAX_DNS_NAMES:
        raise RingfenceError(Kind.INVALID, f"an SVID has up to {MAX_DNS_NAMES} DNS names, each once")
    if SERVER_NAME in draft.dns_names and draft.spiffe_id.path != "/ringfence/server":
        raise RingfenceError(Kind.DENIED, f"{SERVER_NAME} is the control plane's own name, not {draft.spiffe_id}'s")
    if draft.ip_addresses and not draft.spiffe_id.is_reserved:
        raise RingfenceError(Kind.INVALID, "IP addresses are certified for the control plane only")
