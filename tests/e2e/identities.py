"""Certificates for tests with a real Envoy: SVIDs as our authority signs them, and forged ones that it never would."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from ringfence.certs.authority import Authority
from ringfence.certs.keys.disk import DiskKeys
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.revocation import serial_of
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.xds import codec
from ringfence.xds.snapshot import Snapshot

_TTL = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key as PEM."""

    chain: bytes
    key: bytes

    @classmethod
    def of(cls, svid: Any) -> Identity:
        """One X.509-SVID of a response of the Workload API."""
        key = load_der_private_key(svid.x509_svid_key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(_pem(svid.x509_svid), _key_pem(key))

    @property
    def serial(self) -> str:
        """Of the leaf, as listings write it."""
        return serial_of(x509.load_pem_x509_certificate(self.chain).serial_number)

    def client(self, folder: Path, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A client context that presents it; the server's name is not looked at."""
        (folder / "id.pem").write_bytes(self.chain + self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(folder / "id.pem")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class Domain:
    """A trust domain with its authority: a new one, unless keys and authority of a real server are given."""

    def __init__(
        self, name: str, keys: MemoryKeys | DiskKeys | None = None, authority: Authority | None = None
    ) -> None:
        self.keys = keys or MemoryKeys()
        self.name = TrustDomain(name)
        self.authority = authority or Authority.create(self.name, self.keys, now=datetime.now(UTC))

    def issue(self, spiffe_id: SpiffeId, dns: Sequence[str] = ()) -> Identity:
        """An SVID in the ordinary way."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        chain = self.authority.issue_x509(spiffe_id, key.public_key(), now=now, ttl=_TTL, dns_names=dns)
        return Identity(b"".join(_pem(der) for der in chain), _key_pem(key))

    def forge(
        self, *uris: str, dns: tuple[str, ...] = (), lived: timedelta = -_TTL, serial: int | None = None
    ) -> Identity:
        """What the authority's key can sign but the authority never does: any names and serial, ended *lived* ago."""
        slot = self.authority.current.x509
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        names: list[Any] = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"), False
        )
        usage |= dict.fromkeys(("crl_sign", "encipher_only", "decipher_only"), False)
        signer = self.keys._keys[slot.key_id]
        certificate = (
            x509.CertificateBuilder(x509.load_der_x509_certificate(slot.der).subject, x509.Name([]))
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(now - 2 * _TTL)
            .not_valid_after(now - lived)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        return Identity(certificate.public_bytes(Encoding.PEM), _key_pem(key))


def secrets(own: Domain, spiffe_id: SpiffeId, *trusted: Domain) -> Snapshot:
    """What the agent's SDS serves to a proxy: its SVID, and the SPIFFE validator with every trusted bundle."""
    identity = own.issue(spiffe_id)
    svid = codec.build(
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        name=str(spiffe_id),
        tls_certificate={
            "certificate_chain": {"inline_bytes": identity.chain},
            "private_key": {"inline_bytes": identity.key},
        },
    )
    domains = [
        {"name": str(domain.name), "trust_bundle": {"inline_bytes": _pem(domain.authority.current.x509.der)}}
        for domain in (own, *trusted)
    ]
    validator = codec.extension(
        "envoy.tls.cert_validator.spiffe",
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        trust_domains=domains,
    )
    bundles = codec.build(
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        name="ALL",
        validation_context={"custom_validator_config": validator},
    )
    return Snapshot.of([codec.resource(str(spiffe_id), svid), codec.resource("ALL", bundles)], "test")


def web_server(host: str) -> tuple[Identity, bytes]:
    """A certificate for a host outside the mesh, and the authority to be trusted for it, as PEM."""
    ca, key, now = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "outside")])

    def built(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(issuer, subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _TTL)
            .not_valid_after(now + _TTL)
        )

    root = built(issuer, ca.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    leaf = built(x509.Name([]), key.public_key()).add_extension(names, critical=True)
    identity = Identity(leaf.sign(ca, hashes.SHA256()).public_bytes(Encoding.PEM), _key_pem(key))
    return identity, root.sign(ca, hashes.SHA256()).public_bytes(Encoding.PEM)


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
