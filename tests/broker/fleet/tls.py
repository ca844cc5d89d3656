"""Mutual TLS for tests: one authority, a server's context, and clients of grpc.aio."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

TRUST_DOMAIN = TrustDomain("example.test")
SERVER_NAME = "ringfence-server"


class Identities:
    """Certificates of one trust domain, as PEM."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.authority = Authority.create(TRUST_DOMAIN, MemoryKeys(), now=self.now)
        self.roots = self.authority.bundle(1).x509_pem()

    def issue(self, path: str, *, ttl: timedelta = timedelta(hours=1), dns: Sequence[str] = ()) -> tuple[bytes, bytes]:
        """A key and a chain for a SPIFFE ID of that path."""
        key = ec.generate_private_key(ec.SECP256R1())
        spiffe_id = SpiffeId(TRUST_DOMAIN, path)
        chain = self.authority.issue_x509(spiffe_id, key.public_key(), now=self.now, ttl=ttl, dns_names=dns)
        pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), pem

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """What the server's lane presents; client certificates are optional."""
        key, chain = self.issue("/ringfence/server", dns=[SERVER_NAME])
        both = folder / "server.pem"
        both.write_bytes(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.roots.decode())
        context.load_cert_chain(both)
        context.set_alpn_protocols(["h2"])
        return context

    def channel(self, port: int, path: str | None, *, ttl: timedelta = timedelta(hours=1)) -> grpc.aio.Channel:
        """A client with the SVID of *path*, or with none."""
        key, chain = self.issue(path, ttl=ttl) if path is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(self.roots, key, chain)
        options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
