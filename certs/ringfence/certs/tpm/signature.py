"""Signatures as a TPM writes them, TPMT_SIGNATURE (TPM 2.0 Part 2, 11.3.4)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.names import HASHES, Alg
from ringfence.certs.tpm.public import PublicKey
from ringfence.certs.tpm.reader import Reader

MAX_SIGNATURE = 1024  # bytes


def verify(key: PublicKey, signature: bytes, data: bytes, what: str) -> None:
    """Raise UNAUTHENTICATED, naming *what*, unless *signature* is one of *key* over *data*."""
    reader = Reader(signature, what)
    if len(signature) > MAX_SIGNATURE:
        raise reader.refused(f"it has more than {MAX_SIGNATURE} bytes")
    scheme, hashed = reader.number(2), HASHES.get(reader.number(2))
    if hashed is None:
        raise reader.refused("it is not by SHA-256, SHA-384 or SHA-512")
    try:
        if isinstance(key, rsa.RSAPublicKey) and scheme in {Alg.RSASSA, Alg.RSAPSS}:
            value = reader.sized()
            reader.end()
            pss = padding.PSS(padding.MGF1(hashed), padding.PSS.AUTO)  # a TPM's salt is as long as it can be, or FIPS'
            key.verify(value, data, padding.PKCS1v15() if scheme == Alg.RSASSA else pss, hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme == Alg.ECDSA:
            r, s = int.from_bytes(reader.sized()), int.from_bytes(reader.sized())
            reader.end()
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashed))
        else:
            raise reader.refused("its scheme is not the key's")
    except InvalidSignature:
        raise RingfenceError(Kind.UNAUTHENTICATED, f"{what} is not by the key that it should be by") from None
