"""What a key in a TPM is asked to be: the same template gives the same primary key again, as long as its seed lives."""

from __future__ import annotations

from ringfence.certs.tpm.names import CURVE_P256, Alg, Attribute
from ringfence.certs.tpm.reader import number, sized

_OURS = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
_WRAPPING = _OURS | Attribute.RESTRICTED | Attribute.DECRYPT
_STORAGE = _WRAPPING | Attribute.USER_WITH_AUTH | Attribute.NO_DA
_NULL = number(Alg.NULL, 2)
_AES128 = number(Alg.AES, 2) + number(128, 2) + number(Alg.CFB, 2)
# PolicySecret of the endorsement hierarchy: PolicyA of TCG's EK Credential Profile, B.3 there.
_POLICY_A = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def _rsa(attributes: int, policy: bytes, unique: bytes) -> bytes:
    head = number(Alg.RSA, 2) + number(Alg.SHA256, 2) + number(attributes, 4) + sized(policy)
    return head + _AES128 + _NULL + number(2048, 2) + number(0, 4) + sized(unique)


def _p256(attributes: int, policy: bytes, symmetric: bytes, scheme: bytes, unique: bytes) -> bytes:
    head = number(Alg.ECC, 2) + number(Alg.SHA256, 2) + number(attributes, 4) + sized(policy)
    return head + symmetric + scheme + number(CURVE_P256, 2) + _NULL + sized(unique) + sized(unique)


# The endorsement keys of the templates L-1 and L-2, by the NV index of their certificate (the same profile, 2.2.1.4).
ENDORSEMENT = {
    0x01C00002: _rsa(_WRAPPING | Attribute.ADMIN_WITH_POLICY, _POLICY_A, bytes(256)),
    0x01C0000A: _p256(_WRAPPING | Attribute.ADMIN_WITH_POLICY, _POLICY_A, _AES128, _NULL, bytes(32)),
}
# The storage root key that SPIRE's agent uses too, by the kind of key below it (H-1 and H-2 without their policies).
STORAGE_ROOT = {
    Alg.RSA: _rsa(_STORAGE, b"", b""),
    Alg.ECC: _p256(_STORAGE, b"", _AES128, _NULL, b""),
}
ATTESTATION = _p256(
    _OURS | Attribute.RESTRICTED | Attribute.SIGN | Attribute.USER_WITH_AUTH | Attribute.NO_DA,
    b"",
    _NULL,
    number(Alg.ECDSA, 2) + number(Alg.SHA256, 2),
    b"",
)
