"""An external model hub: HTTPS with a throw-away authority of its own, outside the mesh and knowing nothing of it.

Environment: `PORT` (on 127.0.0.1), `HUB_CA_FILE` (where its CA certificate is written once it listens).
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ringfence.broker.demo.workloads.registry import RegistryHandler, seed, serve, store

HOST = "hub.models.example"
LIFETIME = timedelta(days=1)
SEEDS: dict[str, dict[str, Any]] = {"models/base": {"mean": [0.0, 0.0, 0.0, 0.0], "scale": [0.58, 0.58, 0.58, 0.58]}}


class HubHandler(RegistryHandler):
    """Serves `/models/NAME` and takes nothing."""

    server_version = "hub"

    def do_PUT(self) -> None:  # noqa: N802 - the name that http.server calls
        """Nobody uploads here."""
        self.close_connection = True
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED)

    def _file(self) -> Path | None:
        return self._folder / "models" / "base" if self.path.partition("?")[0] == "/models/base" else None


def certificates(now: datetime) -> tuple[bytes, bytes]:
    """A new CA as PEM, and a key and certificate for HOST that it signed, as one PEM."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub's throw-away CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])

    def draft(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        serial, start = x509.random_serial_number(), now - timedelta(hours=1)
        return x509.CertificateBuilder(ca_name, subject, public_key, serial, start, now + LIFETIME)

    ca = draft(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    leaf = draft(name, key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (
        ca.sign(ca_key, SHA256()).public_bytes(Encoding.PEM),
        private + leaf.sign(ca_key, SHA256()).public_bytes(Encoding.PEM),
    )


def secured(server: ThreadingHTTPServer, identity: bytes, folder: Path) -> None:
    """Speak TLS 1.2 or newer with *identity* (PEM); the handshake is left to the thread that serves a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pem = folder / "hub.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(identity)
    context.load_cert_chain(pem)
    pem.unlink()
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


def main() -> None:
    """Serve until ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that its folder goes with it
    ca, identity = certificates(datetime.now(UTC))
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        folder = Path(name)
        seed(folder, SEEDS)
        with serve(folder, int(os.environ["PORT"]), HubHandler) as server:
            secured(server, identity, folder)
            store(Path(os.environ["HUB_CA_FILE"]), ca)
            server.serve_forever()


if __name__ == "__main__":
    main()
