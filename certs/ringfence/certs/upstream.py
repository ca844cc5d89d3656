"""An authority above ours: it signs our intermediates, and its root is what others trust."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from ringfence.certs.certificate import read_certificate, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE, SUBJECT, csr_public_key, new_serial
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.tbs import CA_BASIC_CONSTRAINTS, CA_KEY_USAGE


@dataclass(frozen=True, slots=True)
class Minted:
    """An intermediate of ours (DER), what is sent after it in a chain, and the roots that vouch for it."""

    certificate: bytes
    above: tuple[bytes, ...]
    roots: tuple[bytes, ...]


class Upstream(Protocol):
    """Whoever signs intermediates. Its calls may take a while: not on an event loop's thread."""

    @property
    def shares(self) -> bool:
        """Whether it is a server of the same trust domain, whose bundle is ours too."""
        ...

    def mint(self, trust_domain: TrustDomain, request: bytes, *, now: datetime, ttl: timedelta) -> Minted:
        """An intermediate for the key of *request* (PKCS #10 DER), ended no later than what signs it.

        Raises INVALID, UNAVAILABLE, DENIED.
        """
        ...

    def publish(self, kid: str, key: ec.EllipticCurvePublicKey, not_after: datetime) -> None:
        """Have a JWT-SVID key known above, before it signs, if keys are shared; raises UNAVAILABLE, DENIED."""
        ...


@dataclass(frozen=True, slots=True)
class SigningCa:
    """An operator's authority: its certificate, those between it and the roots, and its key."""

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def parse(cls, certificates: bytes, key: bytes, roots: bytes = b"") -> SigningCa:
        """From PEM: the signing certificate first; without *roots* it is itself the root. Raises INVALID."""
        # 1. All of it can be read.
        chain = _certificates(certificates, "the upstream certificate")
        anchors = _certificates(roots, "the upstream roots") if roots else chain[-1:]
        try:
            private = load_pem_private_key(key, None)
        except (ValueError, TypeError):
            raise _invalid("the upstream key cannot be read, or is encrypted") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise _invalid("the upstream key is neither elliptic curve nor RSA")
        # 2. The key is the certificate's.
        if private.public_key() != chain[0].public_key():
            raise _invalid("the upstream key is not that of the upstream certificate")
        # 3. It may sign an authority below itself.
        _check_may_sign(chain[0])
        # 4. A root is a root: what is trusted is trusted by itself alone.
        if any(root.subject != root.issuer for root in anchors):
            raise _invalid("what is given as upstream root is signed by another", "Give --upstream-roots")
        above = tuple(one for one in chain if one not in anchors)
        return cls(chain[0], above, tuple(anchors), private)

    def mint(self, trust_domain: TrustDomain, request: bytes, *, now: datetime, ttl: timedelta) -> Minted:
        """An intermediate, from 10 s ago for *ttl*, within the life of everything above it; raises INVALID."""
        key = csr_public_key(request)
        lives = (self.certificate, *self.above, *self.roots)
        begins = max((now - BACKDATE).replace(microsecond=0), *(one.not_valid_before_utc for one in lives))
        ends = min((now + ttl).replace(microsecond=0), *(one.not_valid_after_utc for one in lives))
        if not begins <= now < ends:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"the upstream authority is not valid now (it ends at {ends:%Y-%m-%dT%H:%M:%SZ})",
                hint="Give a new --upstream-cert and key; they are read again at the next try",
            )
        der = self._intermediate(trust_domain, key, begins, ends).public_bytes(Encoding.DER)
        return Minted(der, tuple(map(_der, self.above)), tuple(map(_der, self.roots)))

    def _intermediate(
        self, trust_domain: TrustDomain, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
    ) -> x509.Certificate:
        serial = new_serial()
        name = x509.Name([*SUBJECT, x509.NameAttribute(NameOID.SERIAL_NUMBER, str(serial))])
        ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder(self.certificate.subject, name, key, serial, begins, ends)
            .add_extension(CA_BASIC_CONSTRAINTS, critical=True)
            .add_extension(CA_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(trust_domain.id)]), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )


def _check_may_sign(cert: x509.Certificate) -> None:
    try:
        constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise _invalid("the upstream certificate does not say that it is an authority") from None
    if not constraints.ca or not usage.key_cert_sign:
        raise _invalid("the upstream certificate is no authority's")
    if constraints.path_length == 0:
        raise _invalid("the upstream certificate allows no authority below it (path length 0)")
    if not subject_key_id(cert):
        raise _invalid("the upstream certificate has no subject key identifier")


def _certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return [read_certificate(_der(one)) for one in x509.load_pem_x509_certificates(pem)]
    except ValueError:
        raise _invalid(f"{what} cannot be read") from None


def _der(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(Encoding.DER)


def _invalid(detail: str, hint: str = "") -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint=hint or "See docs/upstream-disk.md")
