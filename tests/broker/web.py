"""A web certificate authority of one's own, and HTTPS requests by the standard library's client."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, headers by lower-case name, and the server's leaf (DER; empty without TLS)."""

    status: int
    body: bytes
    headers: dict[str, str]
    leaf: bytes = b""


@dataclass(slots=True)
class WebAuthority:
    """Signs certificates for host names, as public web authorities do."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def name(self) -> x509.Name:
        """Its own."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a web authority")])

    def root(self) -> bytes:
        """Its root, PEM."""
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = self._draft(self.name, self.key).add_extension(constraints, critical=True)
        made = made.add_extension(usage, critical=True)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Certificate and key files for host names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        made = self._draft(x509.Name([]), key).add_extension(alternatives, critical=True)
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        signed = made.add_extension(aki, critical=False).sign(self.key, hashes.SHA256())
        certificate, private = folder / "web.pem", folder / "web.key"
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def _draft(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = made.add_extension(ski, critical=False)
        return made.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(hours=1))


async def request(address: str, path: str, *, tls: ssl.SSLContext | None = None, method: str = "GET") -> Answer:
    """One request to `HOST:PORT`."""
    return await asyncio.to_thread(_request, address, path, tls, method)


def trusting(roots: bytes) -> ssl.SSLContext:
    """A client context that checks host names under *roots* (PEM)."""
    return ssl.create_default_context(cadata=roots.decode())


def _request(address: str, path: str, tls: ssl.SSLContext | None, method: str) -> Answer:
    connection = (
        http.client.HTTPConnection(address, timeout=30)
        if tls is None
        else http.client.HTTPSConnection(address, timeout=30, context=tls)
    )
    try:
        connection.connect()
        leaf = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else b""
        connection.request(method, path)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.read(), headers, leaf or b"")
    finally:
        connection.close()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
