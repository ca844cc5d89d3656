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
