"""Reading a certificate whole: cryptography parses lazily, so that damage would show late and as any kind of error."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_UNREADABLE = (
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def subject_key_id(cert: x509.Certificate) -> str:
    """The subject key identifier in hex, the name of an authority; empty when it has none (RFC 5280 4.2.1.2)."""
    try:
        return cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return ""


def issuer_key_id(cert: x509.Certificate) -> str:
    """The subject key identifier of whoever signed it, in hex; empty when it does not say (RFC 5280 4.2.1.1)."""
    try:
        found = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return found.hex() if found else ""


def read_certificate(der: bytes) -> x509.Certificate:
    """The certificate that *der* is, with names, key and extensions parsed; raises ValueError for anything else."""
    try:
        cert = x509.load_der_x509_certificate(der)
        _ = cert.subject, cert.issuer, cert.public_key(), cert.extensions, cert.signature_algorithm_parameters
    except _UNREADABLE as error:
        raise ValueError(str(error)) from None
    if cert.serial_number <= 0:
        raise ValueError("the serial number is not positive")
    return cert
