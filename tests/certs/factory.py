"""A factory of nodes with an authority of its own, whose certificates are evidence that nodes show."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.certs.material import HOUR, NOW, new_key


class Ca:
    """An authority of somebody else, which knows nothing of Ringfence."""

    def __init__(self, name: str = "Factory", parent: Ca | None = None, **extension: Any) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = parent or self
        constraints = x509.BasicConstraints(ca=extension.pop("ca", True), path_length=None)
        made = builder(self.name, issuer.name, self.key.public_key(), constraints, **extension)
        self.certificate = made.sign(issuer.key, hashes.SHA256())

    def issue(self, key: Any, name: str = "node-1", *extensions: x509.ExtensionType, **times: Any) -> bytes:
        """A leaf for *key*."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = builder(subject, self.name, key.public_key(), *extensions, **times)
        return leaf.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def builder(
    subject: x509.Name, issuer: x509.Name, key: Any, *extensions: x509.ExtensionType, **times: Any
) -> x509.CertificateBuilder:
    """A certificate to sign, of an hour ago and good for a day unless `start` and `end` say otherwise."""
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(times.get("start", NOW - HOUR))
        .not_valid_after(times.get("end", NOW + 24 * HOUR))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical=True)
    return made
