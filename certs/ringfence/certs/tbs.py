"""The bytes an authority signs: a leaf laid out from its draft in a few microseconds, and the authority's own root.

Constant parts are encoded once, by cryptography; `check_leaf` reads every result back with cryptography's parser.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ringfence.certs import der
from ringfence.certs.profile import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT, LeafDraft
from ringfence.certs.spiffe_id import TrustDomain

_VERSION_3 = der.tlv(0xA0, der.integer(2))
ECDSA_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
_EXTENSIONS = 0xA3
_URI, _DNS, _IP, _AKI_KEY_ID = 0x86, 0x82, 0x87, 0x80  # GeneralName and AuthorityKeyIdentifier, RFC 5280 4.2.1
CA_BASIC_CONSTRAINTS = x509.BasicConstraints(ca=True, path_length=None)
CA_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _fixed(value: x509.ExtensionType, *, critical: bool) -> bytes:
    return der.extension(der.oid(value.oid.dotted_string), value.public_bytes(), critical=critical)


_LEAF_EXTENSIONS = b"".join(
    (
        _fixed(KEY_USAGE, critical=True),
        _fixed(EXTENDED_KEY_USAGE, critical=False),
        _fixed(BASIC_CONSTRAINTS, critical=True),
    )
)
_CA_EXTENSIONS = _fixed(CA_KEY_USAGE, critical=True) + _fixed(CA_BASIC_CONSTRAINTS, critical=True)
_SKI_OID, _AKI_OID, _SAN_OID = (
    der.oid(value.oid.dotted_string)
    for value in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.SubjectAlternativeName)
)
_SHA1_BYTES = 20
_SKI_PREFIX = der.extension(_SKI_OID, der.tlv(der.OCTET_STRING, bytes(_SHA1_BYTES)), critical=False)[:-_SHA1_BYTES]


@dataclass(frozen=True, slots=True)
class LeafTemplate:
    """What all leaves of one authority have in common: its name and its key identifier."""

    issuer: bytes
    authority_key_id: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> LeafTemplate:
        """The template of the authority that *certificate* is."""
        key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        aki = der.sequence(der.tlv(_AKI_KEY_ID, key_id))
        return cls(certificate.subject.public_bytes(), der.extension(_AKI_OID, aki, critical=False))

    def fill(self, draft: LeafDraft) -> bytes:
        """The TBSCertificate of *draft* (RFC 5280 4.1), ready to sign."""
        spki = draft.spki
        names = der.tlv(_URI, str(draft.spiffe_id).encode("ascii"))
        for name in draft.dns_names:
            names += der.tlv(_DNS, name.encode())
        for address in draft.ip_addresses:
            names += der.tlv(_IP, address.packed)
        extensions = (
            _LEAF_EXTENSIONS
            + _ski_extension(draft.public_key, spki)
            + self.authority_key_id
            + der.extension(_SAN_OID, der.sequence(names), critical=False)
        )
        return _tbs(draft.serial, self.issuer, (draft.not_before, draft.not_after), draft.subject, spki, extensions)


def authority_tbs(
    trust_domain: TrustDomain,
    key: ec.EllipticCurvePublicKey,
    *,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    above: LeafTemplate | None = None,
) -> bytes:
    """The TBSCertificate of a root, or of an authority *above* signs (X509-SVID 3.2).

    It has a subject of its own, so that paths stay unique.
    """
    serial_number = x509.NameAttribute(NameOID.SERIAL_NUMBER, str(serial))
    name = x509.Name([*SUBJECT, serial_number]).public_bytes()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    san = der.sequence(der.tlv(_URI, trust_domain.id.encode()))
    issuer, issuer_id = (name, b"") if above is None else (above.issuer, above.authority_key_id)
    extensions = _CA_EXTENSIONS + _ski_extension(key, spki) + issuer_id + der.extension(_SAN_OID, san, critical=False)
    return _tbs(serial, issuer, (not_before, not_after), name, spki, extensions)


def certificate(tbs: bytes, signature: bytes) -> bytes:
    """The certificate (DER) of a TBSCertificate, or the CRL of a TBSCertList, and its ECDSA SHA-256 signature."""
    return der.sequence(tbs, ECDSA_SHA256, der.bit_string(signature))


def _tbs(
    serial: int, issuer: bytes, validity: tuple[datetime, datetime], subject: bytes, spki: bytes, extensions: bytes
) -> bytes:
    return der.sequence(
        _VERSION_3,
        der.integer(serial),
        ECDSA_SHA256,
        issuer,
        _validity(*validity),
        subject,
        spki,
        der.tlv(_EXTENSIONS, der.sequence(extensions)),
    )


@lru_cache(maxsize=16)  # those of one second, of which batches are made
def _validity(not_before: datetime, not_after: datetime) -> bytes:
    return der.sequence(der.time(not_before), der.time(not_after))


def _ski_extension(key: ec.EllipticCurvePublicKey, spki: bytes) -> bytes:
    # RFC 5280 4.2.1.2 method 1: SHA-1 of the point, whose 1 + 2n bytes end every EC SubjectPublicKeyInfo.
    point = spki[-(1 + key.key_size // 4) :]
    return _SKI_PREFIX + hashlib.sha1(point, usedforsecurity=False).digest()
