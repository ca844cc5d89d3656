"""The port behind which an authority's private keys live: they sign, and never come out."""

from __future__ import annotations

import re
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.errors import Kind, RingfenceError

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class KeyManager(Protocol):
    """Holds ECDSA P-256 keys by name. `tests/contract` says what every implementation does."""

    def generate(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """Make a key under a new name; raises CONFLICT when the name is taken, INVALID when it is no name."""
        ...

    def public_key(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """The public half; raises NOT_FOUND."""
        ...

    def sign(self, key_id: str, data: bytes) -> bytes:
        """The DER signature over SHA-256 of *data* (ECDSA, FIPS 186-5); raises NOT_FOUND."""
        ...

    def delete(self, key_id: str) -> None:
        """Forget the key for good; raises NOT_FOUND."""
        ...

    def key_ids(self) -> frozenset[str]:
        """The names of all keys held."""
        ...


def check_key_id(key_id: str) -> str:
    """*key_id* when it may name a key, and so a file too; raises INVALID."""
    if not _KEY_ID.fullmatch(key_id):
        raise RingfenceError(Kind.INVALID, f"{key_id!r} is no key name", hint="Use letters, digits, dots and dashes")
    return key_id


def no_such_key(key_id: str) -> RingfenceError:
    """The error for a name that holds no key."""
    return RingfenceError(
        Kind.NOT_FOUND,
        f"the key manager holds no key {key_id!r}",
        hint="Restore the keys that belong to this state, or start with a new data directory",
    )
