"""A certificate signing request (PKCS #10) by a key that only a key manager holds."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringfence.certs import der, tbs

_VERSION_1 = der.integer(0)
_NO_SUBJECT = x509.Name([]).public_bytes()
_NO_ATTRIBUTES = der.tlv(0xA0, b"")  # [0], which RFC 2986 section 4.1 wants even when it is empty


def signed_request(key: ec.EllipticCurvePublicKey, sign: Callable[[bytes], bytes]) -> bytes:
    """The request (DER) for *key*, which says nothing else; *sign* gives ECDSA over SHA-256, in DER."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    information = der.sequence(_VERSION_1, _NO_SUBJECT, spki, _NO_ATTRIBUTES)
    return tbs.certificate(information, sign(information))  # the same three parts as a certificate
