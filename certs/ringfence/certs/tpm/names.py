"""The numbers of TPM 2.0 Part 2 that an attestation uses, under that document's names."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from cryptography.hazmat.primitives import hashes


class Alg(IntEnum):
    """TPM_ALG_ID (6.3)."""

    RSA = 0x0001
    AES = 0x0006
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECC = 0x0023
    CFB = 0x0043


class Attribute(IntFlag):
    """TPMA_OBJECT (8.3)."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


GENERATED = 0xFF544347  # TPM_GENERATED_VALUE (6.2): what the TPM itself made begins so, and it signs nothing else so
ST_ATTEST_CERTIFY = 0x8017  # 6.9
CURVE_P256, CURVE_P384, CURVE_P521 = 0x0003, 0x0004, 0x0005  # TPM_ECC_CURVE (6.4)

HASHES: dict[int, hashes.HashAlgorithm] = {  # SHA-1 is not among them: names stand for keys here
    Alg.SHA256: hashes.SHA256(),
    Alg.SHA384: hashes.SHA384(),
    Alg.SHA512: hashes.SHA512(),
}


def digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    """The hash of *data*."""
    made = hashes.Hash(algorithm)
    made.update(data)
    return made.finalize()
