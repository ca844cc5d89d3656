"""MakeCredential (TPM 2.0 Part 1, 24): a secret that only the TPM with an endorsement key opens, beside a named key.

TPM2_ActivateCredential gives it out when both keys are in that TPM: the endorsement key, which it decrypts with, and
the key of that very name, which the wrapping is made for.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.names import Alg, digest
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.reader import number, sized

SECRET_BYTES = 32  # at most the digest of the endorsement key's name
_HASH = hashes.SHA256()
_BITS = 256  # of it
_AES_BITS, _BLOCK = 128, 16  # bits of a key, bytes of a block


@dataclass(frozen=True, slots=True)
class Credential:
    """A wrapped secret: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, as TPM2_ActivateCredential takes them."""

    id_object: bytes
    encrypted_secret: bytes = field(repr=False)


def check_endorsement(area: PublicArea) -> None:
    """Raise UNAUTHENTICATED unless secrets can be wrapped for it: TCG EK Credential Profile, L-1 and L-2."""
    key = area.key
    known = isinstance(key, rsa.RSAPublicKey) or key.curve.name == ec.SECP256R1.name
    if not known or area.name_hash != Alg.SHA256 or area.symmetric != (Alg.AES, _AES_BITS, Alg.CFB):
        raise RingfenceError(
            Kind.UNAUTHENTICATED,
            "the endorsement key is neither RSA nor on P-256 with SHA-256 and AES-128-CFB",
            hint="Use the TPM's endorsement key of the template L-1 or L-2 (TCG EK Credential Profile)",
        )


def make_credential(endorsement: PublicArea, name: bytes, secret: bytes) -> Credential:
    """*secret* for the TPM of *endorsement*, if a key of *name* is in it; raises as `check_endorsement`."""
    check_endorsement(endorsement)
    seed, encrypted = _seed(endorsement)
    identity = _cfb(kdfa(seed, b"STORAGE", name, _AES_BITS), sized(secret))
    integrity = hmac.HMAC(kdfa(seed, b"INTEGRITY", b"", _BITS), _HASH)
    integrity.update(identity + name)
    return Credential(sized(sized(integrity.finalize()) + identity), sized(encrypted))


def _seed(endorsement: PublicArea) -> tuple[bytes, bytes]:
    """A seed, and what of it only the endorsement key makes out (Part 1, B.10.4 and C.6.1)."""
    key = endorsement.key
    if isinstance(key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(_BITS // 8)
        return seed, key.encrypt(seed, padding.OAEP(padding.MGF1(_HASH), _HASH, label=b"IDENTITY\0"))
    mine = ec.generate_private_key(key.curve)
    shared = mine.exchange(ec.ECDH(), key)
    (x, y), (theirs, _) = coordinates(mine.public_key()), coordinates(key)
    return kdfe(shared, b"IDENTITY", x, theirs), sized(x) + sized(y)


def coordinates(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """Both, as long as the curve's field."""
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    return numbers.x.to_bytes(size), numbers.y.to_bytes(size)


def kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa by SHA-256 of at most one block (Part 1, 11.4.10.2)."""
    made = hmac.HMAC(key, _HASH)
    made.update(number(1, 4) + label + b"\0" + context + number(bits, 4))
    return made.finalize()[: bits // 8]


def kdfe(shared: bytes, use: bytes, first: bytes, second: bytes) -> bytes:
    """KDFe by SHA-256 of one block, from the x coordinates of *shared* and both parties' keys (Part 1, 11.4.10.3)."""
    return digest(_HASH, number(1, 4) + shared + use + b"\0" + first + second)


def _cfb(key: bytes, data: bytes) -> bytes:
    """AES-CFB of *data* with an IV of zeros, as TPMs have it.

    By blocks, because `cryptography` 46 and 47 have the mode in different places.
    """
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  # what it is made of
    made, last = b"", bytes(_BLOCK)
    for start in range(0, len(data), _BLOCK):
        piece = data[start : start + _BLOCK]
        last = bytes(a ^ b for a, b in zip(piece, block.update(last), strict=False))
        made += last
    return made
