"""Keys in this process's memory: they end with it, and nothing is written anywhere."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import check_key_id, no_such_key

_ECDSA = ec.ECDSA(hashes.SHA256())


class MemoryKeys:
    """A key manager for tests and for servers whose authority may end with them."""

    def __init__(self) -> None:
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def __repr__(self) -> str:
        return f"<MemoryKeys with {len(self._keys)} keys>"

    def generate(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """Make a P-256 key under a new name."""
        if check_key_id(key_id) in self._keys:
            raise RingfenceError(Kind.CONFLICT, f"the key {key_id!r} exists")
        self._keys[key_id] = ec.generate_private_key(ec.SECP256R1())
        return self.public_key(key_id)

    def public_key(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._key(key_id).public_key()

    def sign(self, key_id: str, data: bytes) -> bytes:
        """The DER signature over SHA-256 of *data*."""
        return self._key(key_id).sign(data, _ECDSA)

    def delete(self, key_id: str) -> None:
        """Forget the key."""
        self._key(key_id)
        del self._keys[key_id]

    def key_ids(self) -> frozenset[str]:
        """The names of all keys held."""
        return frozenset(self._keys)

    def _key(self, key_id: str) -> ec.EllipticCurvePrivateKey:
        try:
            return self._keys[key_id]
        except KeyError:
            raise no_such_key(key_id) from None
