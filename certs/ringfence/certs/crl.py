"""Certificate revocation lists: what each X.509 authority takes back of what it signed (RFC 5280 section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs import der, tbs
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE
from ringfence.certs.revocation import RevokedSerial, serial_of
from ringfence.certs.slot import X509Authority

LIFE = timedelta(hours=24)  # a server may be away as long before a list is stale; a new one is made at half of it
_VERSION_2 = der.integer(1)
_EXTENSIONS, _ENUMERATED = 0xA0, 0x0A
_CRL_NUMBER, _REASON_CODE = der.oid("2.5.29.20"), der.oid("2.5.29.21")
# RFC 5280 5.3.1; `unspecified` is said by leaving the extension out.
_REASONS = {"keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5, "privilegeWithdrawn": 9}


@dataclass(frozen=True, slots=True)
class Crl:
    """One signed list and what it says."""

    authority: str  # subject key id of the issuer, hex
    number: int
    this_update: datetime
    next_update: datetime
    serials: frozenset[str]
    der: bytes = field(repr=False)

    def is_due(self, wanted: Iterable[RevokedSerial], now: datetime) -> bool:
        """Whether it is to be made again: it says something else than *wanted*, or half of its time has gone."""
        half = self.this_update + (self.next_update - self.this_update) / 2
        return now >= half or self.serials != {one.serial for one in wanted}


def read_crl(encoded: bytes) -> Crl:
    """What a list of ours says; raises INVALID for anything else."""
    try:
        found = x509.load_der_x509_crl(encoded)
        key_id = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        serials = frozenset(serial_of(one.serial_number) for one in found)
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise _not_ours() from None
    if key_id is None or found.next_update_utc is None:
        raise _not_ours()
    return Crl(key_id.hex(), number, found.last_update_utc, found.next_update_utc, serials, encoded)


def sign_crl(authority: X509Authority, revoked: Iterable[RevokedSerial], *, number: int, now: datetime) -> Crl:
    """The list of *revoked* by *authority*, valid from 10 s ago for `LIFE`; raises INVALID, or NOT_FOUND for no key."""
    # 1. Lay out: the name and the key identifier are those that the authority's leaves name as their issuer's.
    issuer = tbs.LeafTemplate.of(authority.certificate)
    begins = (now - BACKDATE).replace(microsecond=0)
    layout = der.sequence(
        _VERSION_2,
        tbs.ECDSA_SHA256,
        issuer.issuer,
        der.time(begins),
        der.time(begins + LIFE),
        _entries(revoked),
        der.tlv(_EXTENSIONS, der.sequence(issuer.authority_key_id, _number(number))),
    )
    # 2. Sign by the key manager, which alone has the key.
    signed = tbs.certificate(layout, authority.signature(layout))
    # 3. Only what reads back, and verifies under the authority, leaves this house.
    _check(signed, authority)
    return read_crl(signed)


def _entries(revoked: Iterable[RevokedSerial]) -> bytes:
    entries = [_entry(one) for one in sorted(revoked, key=lambda one: one.serial)]
    return der.sequence(*entries) if entries else b""  # RFC 5280 5.1.2.6: absent when there is none


def _entry(one: RevokedSerial) -> bytes:
    when = der.time(datetime.fromtimestamp(one.revoked_at, UTC))
    reason = _REASONS.get(one.code)
    said = b""
    if reason is not None:
        said = der.sequence(der.extension(_REASON_CODE, der.tlv(_ENUMERATED, bytes((reason,))), critical=False))
    return der.sequence(der.integer(int(one.serial, 16)), when, said)


def _number(number: int) -> bytes:
    return der.extension(_CRL_NUMBER, der.integer(number), critical=False)


def _check(signed: bytes, authority: X509Authority) -> None:
    key = read_certificate(authority.der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not x509.load_der_x509_crl(signed).is_signature_valid(key):
        raise RingfenceError(
            Kind.INVALID,
            f"the revocation list of {authority.subject_key_id} does not verify under its own key",
            hint="The key manager holds another key under this name",
        )


def _not_ours() -> RingfenceError:
    return RingfenceError(Kind.INVALID, "this is no revocation list of ours")
