"""The check of what was signed: read back, it says what the draft says, and no more.

It shares nothing with the encoder in `tbs`: cryptography parses the certificate, and its names, key and extensions are
compared with what cryptography lays out for the same values. Byte for byte is stricter than by value, and cheaper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.certs import der
from ringfence.certs.attempt import each, only
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, LeafDraft

_ECDSA = ec.ECDSA(hashes.SHA256())
_TBS_FIELDS = 8  # RFC 5280 4.1: version to extensions, without the two unique identifiers
_SHA1_BYTES = 20
_URI, _DNS, _IP = 0x86, 0x82, 0x87  # GeneralName, RFC 5280 4.2.1.6
_SEQUENCE = bytes((der.SEQUENCE,))
_FIELDS = (
    "version",
    "signature algorithm",
    "serial",
    "issuer",
    "subject",
    "start",
    "end",
    "public key",
    "extensions",
    "names",
)


@dataclass(frozen=True, slots=True)
class LeafCheck:
    """What every leaf of one issuer is compared with: its name, key and life, and what all its leaves share, as DER."""

    issuer_key: ec.EllipticCurvePublicKey
    not_before: datetime
    not_after: datetime
    version: bytes
    algorithm: bytes
    issuer_name: bytes
    usages: tuple[bytes, ...]
    key_id_prefix: bytes
    authority_key_id: bytes
    names_oid: bytes

    @classmethod
    def of(cls, issuer: x509.Certificate) -> LeafCheck:
        """The check for leaves signed by *issuer*; raises INVALID for a key that is no elliptic curve key."""
        key = issuer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise RingfenceError(Kind.INVALID, "the authority's key is no elliptic curve key")
        version, _, algorithm, issuer_name, *_, last = _model(issuer, key)
        *usages, key_id, authority_key_id, names = der.parts(der.content(last))
        return cls(
            issuer_key=key,
            not_before=issuer.not_valid_before_utc,
            not_after=issuer.not_valid_after_utc,
            version=version,
            algorithm=algorithm,
            issuer_name=issuer_name,
            usages=tuple(usages),
            key_id_prefix=key_id[:-_SHA1_BYTES],
            authority_key_id=authority_key_id,
            names_oid=der.parts(names)[0],
        )

    def check(self, signed: bytes, draft: LeafDraft) -> None:
        """Refuse *signed* (DER) unless it is *draft* under this issuer's signature; raises INVALID."""
        only(self.check_all([signed], [draft]))

    def check_all(
        self, signed: Sequence[bytes | RingfenceError], drafts: Sequence[LeafDraft]
    ) -> list[bytes | RingfenceError]:
        """Each of *signed* that is its draft under this issuer's signature, or why not."""
        pairs = [
            one if isinstance(one, RingfenceError) else (one, draft) for one, draft in zip(signed, drafts, strict=True)
        ]
        return each(self._verified, each(self._content_checked, pairs))

    def _content_checked(self, pair: tuple[bytes, LeafDraft]) -> tuple[bytes, bytes, bytes]:
        signed, draft = pair
        return signed, *self.check_content(signed, draft)

    def _verified(self, read: tuple[bytes, bytes, bytes]) -> bytes:
        signed, signature, tbs = read
        # 4. The issuer's key made the signature, over the very bytes that are handed out.
        try:
            self.issuer_key.verify(signature, tbs, _ECDSA)
        except InvalidSignature:
            raise RingfenceError(
                Kind.INVALID, "the authority's signature does not verify", hint="Check the key manager's key"
            ) from None
        return signed

    def check_content(self, signed: bytes, draft: LeafDraft) -> tuple[bytes, bytes]:
        """All of `check` but the signature: that, and the bytes that it is over."""
        # 1. It is one certificate and nothing behind it.
        try:
            cert = x509.load_der_x509_certificate(signed)
        except (ValueError, x509.InvalidVersion):
            raise RingfenceError(Kind.INVALID, "what was signed is no certificate") from None
        # 2. Every field and every extension is the draft's: none missing, none more, criticality and order included.
        tbs, *algorithm, _ = der.parts(signed)
        self._compare(cert, algorithm, der.parts(tbs), draft)
        # 3. It lies within its issuer's life.
        if draft.not_before < self.not_before or draft.not_after > self.not_after:
            raise RingfenceError(Kind.INVALID, "the certificate outlives its authority, or is older")
        return cert.signature, tbs

    def _compare(self, cert: x509.Certificate, algorithm: list[bytes], fields: list[bytes], draft: LeafDraft) -> None:
        if len(fields) != _TBS_FIELDS:
            raise _differs(["number of fields"])
        version, _, signed_with, issuer, _, subject, spki, last = fields
        *extensions, names = der.parts(der.content(last)) or [b""]
        found = (
            version,
            [*algorithm, signed_with],
            cert.serial_number,
            issuer,
            subject,
            cert.not_valid_before_utc,
            cert.not_valid_after_utc,
            spki,
            tuple(extensions),
            _names(names),
        )
        drafted = (
            self.version,
            [self.algorithm, self.algorithm],
            draft.serial,
            self.issuer_name,
            draft.subject,
            draft.not_before,
            draft.not_after,
            draft.spki,
            (*self.usages, self.key_id_prefix + _key_id(draft), self.authority_key_id),
            [self.names_oid, _SEQUENCE, *_alternative_names(draft)],
        )
        if found != drafted:
            raise _differs([name for name, mine, theirs in zip(_FIELDS, drafted, found, strict=True) if mine != theirs])


def check_leaf(signed: bytes, draft: LeafDraft, issuer: x509.Certificate) -> None:
    """Refuse *signed* (DER) unless it is *draft* under the signature of *issuer*; raises INVALID."""
    LeafCheck.of(issuer).check(signed, draft)


def _differs(fields: list[str]) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"what was signed differs from the draft in: {', '.join(fields)}")


def _model(issuer: x509.Certificate, key: ec.EllipticCurvePublicKey) -> list[bytes]:
    # What cryptography's builder makes of the profile's extensions. Names and key of this throw-away are no matter.
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    start = issuer.not_valid_before_utc
    model = (
        x509.CertificateBuilder(issuer.subject, issuer.subject, key, 1, start, start)
        .add_extension(KEY_USAGE, critical=True)
        .add_extension(EXTENDED_KEY_USAGE, critical=False)
        .add_extension(BASIC_CONSTRAINTS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("model")]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return der.parts(der.parts(model.public_bytes(Encoding.DER))[0])


def _key_id(draft: LeafDraft) -> bytes:
    # RFC 5280 4.2.1.2 method 1: SHA-1 of the point, 0x04 and both coordinates.
    point = draft.spki[-(1 + draft.public_key.key_size // 4) :]
    return hashlib.sha1(point, usedforsecurity=False).digest()


def _alternative_names(draft: LeafDraft) -> list[tuple[int, bytes]]:
    names = [(_URI, str(draft.spiffe_id).encode())]
    names += [(_DNS, name.encode()) for name in draft.dns_names]
    names += [(_IP, address.packed) for address in draft.ip_addresses]
    return names


def _names(extension: bytes) -> list[bytes | tuple[int, bytes]]:
    # [oid, (tag, name)...] for an extension without `critical`; anything else is no such list.
    parts = der.parts(extension) if extension else []
    if not parts:
        return []
    value = der.content(parts[-1])
    return [*parts[:-1], value[:1], *((name[0], der.content(name)) for name in der.parts(value))]
