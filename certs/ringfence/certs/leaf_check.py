"""The check of what was signed: read back by cryptography's parser, it says what the draft says, and no more.

It shares no code with the encoder in `tbs`: the expected extensions are cryptography's own values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID

from ringfence.certs import der
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, LeafDraft

Extension = x509.Extension[x509.ExtensionType]
_ECDSA = ec.ECDSA(hashes.SHA256())
_FIXED: tuple[Extension, ...] = (
    x509.Extension(KEY_USAGE.oid, critical=True, value=KEY_USAGE),
    x509.Extension(EXTENDED_KEY_USAGE.oid, critical=False, value=EXTENDED_KEY_USAGE),
    x509.Extension(BASIC_CONSTRAINTS.oid, critical=True, value=BASIC_CONSTRAINTS),
)
_TBS_PARTS = 8  # RFC 5280 4.1: version to extensions, without the two unique identifiers
_FIELDS = (
    "number of fields",
    "version",
    "signature algorithm",
    "serial",
    "issuer",
    "subject",
    "start",
    "end",
    "public key",
    "extensions",
)


@dataclass(frozen=True, slots=True)
class LeafCheck:
    """What every leaf of one issuer is compared with."""

    issuer: x509.Certificate
    issuer_key: ec.EllipticCurvePublicKey
    issuer_name: bytes
    authority_key_id: Extension

    @classmethod
    def of(cls, issuer: x509.Certificate) -> LeafCheck:
        """The check for leaves signed by *issuer*; raises INVALID for a key that is no elliptic curve key."""
        key = issuer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise RingfenceError(Kind.INVALID, "the authority's key is no elliptic curve key")
        ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
        return cls(issuer, key, issuer.subject.public_bytes(), _plain(aki))

    def check(self, signed: bytes, draft: LeafDraft) -> None:
        """Refuse *signed* (DER) unless it is *draft* under this issuer's signature; raises INVALID."""
        # 1. It is one certificate, each extension at most once.
        cert = _parse(signed)
        # 2. Every field and every extension is the draft's: none missing, none more, criticality and order included.
        tbs, *_ = der.parts(signed)
        self._compare(cert, tbs, draft)
        # 3. It lies within its issuer's life.
        if draft.not_before < self.issuer.not_valid_before_utc or draft.not_after > self.issuer.not_valid_after_utc:
            raise RingfenceError(Kind.INVALID, "the certificate outlives its authority, or is older")
        # 4. The issuer's key made the signature, over the very bytes that are handed out.
        try:
            self.issuer_key.verify(cert.signature, tbs, _ECDSA)
        except InvalidSignature:
            raise RingfenceError(
                Kind.INVALID, "the authority's signature does not verify", hint="Check the key manager's key"
            ) from None

    def _compare(self, cert: x509.Certificate, tbs: bytes, draft: LeafDraft) -> None:
        # Names and key are compared as DER: byte for byte is stricter than by value, and cheaper.
        *_, issuer, _, subject, spki, _ = parts = der.parts(tbs)
        found = (
            len(parts),
            cert.version,
            cert.signature_algorithm_oid,
            cert.serial_number,
            issuer,
            subject,
            cert.not_valid_before_utc,
            cert.not_valid_after_utc,
            spki,
            tuple(cert.extensions),
        )
        drafted = (
            _TBS_PARTS,
            x509.Version.v3,
            SignatureAlgorithmOID.ECDSA_WITH_SHA256,
            draft.serial,
            self.issuer_name,
            draft.subject,
            draft.not_before,
            draft.not_after,
            draft.spki,
            self.extensions(draft),
        )
        if found != drafted:
            wrong = [name for name, mine, theirs in zip(_FIELDS, drafted, found, strict=True) if mine != theirs]
            raise RingfenceError(Kind.INVALID, f"what was signed differs from the draft in: {', '.join(wrong)}")

    def extensions(self, draft: LeafDraft) -> tuple[Extension, ...]:
        """The extensions that a leaf of this draft has, in their order."""
        point = draft.spki[-(1 + draft.public_key.key_size // 4) :]  # 0x04 and both coordinates
        ski = x509.SubjectKeyIdentifier(hashlib.sha1(point, usedforsecurity=False).digest())  # RFC 5280 4.2.1.2 (1)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(draft.spiffe_id))]
        names += [x509.DNSName(name) for name in draft.dns_names]
        names += [x509.IPAddress(address) for address in draft.ip_addresses]
        return (*_FIXED, _plain(ski), self.authority_key_id, _plain(x509.SubjectAlternativeName(names)))


def check_leaf(signed: bytes, draft: LeafDraft, issuer: x509.Certificate) -> None:
    """Refuse *signed* (DER) unless it is *draft* under the signature of *issuer*; raises INVALID."""
    LeafCheck.of(issuer).check(signed, draft)


def _plain(value: x509.ExtensionType) -> Extension:
    return x509.Extension(value.oid, critical=False, value=value)


def _parse(signed: bytes) -> x509.Certificate:
    try:
        cert = x509.load_der_x509_certificate(signed)
        _ = cert.extensions  # parsed once, here, and kept by the certificate
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension):
        raise RingfenceError(Kind.INVALID, "what was signed is no certificate") from None
    return cert
