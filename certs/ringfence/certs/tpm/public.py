"""The public area of a key in a TPM, TPMT_PUBLIC (TPM 2.0 Part 2, 12.2.4): what a key is, and the key."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ringfence.certs.errors import RingfenceError
from ringfence.certs.tpm.names import CURVE_P256, CURVE_P384, CURVE_P521, HASHES, Alg, Attribute, digest
from ringfence.certs.tpm.reader import Reader, number

MAX_PUBLIC = 1024  # bytes
MIN_RSA, MAX_RSA = 2048, 4096  # bits
MAX_EXPONENT = 65537  # a greater one makes verification slow at the sender's will
_CURVES: dict[int, ec.EllipticCurve] = {
    CURVE_P256: ec.SECP256R1(),
    CURVE_P384: ec.SECP384R1(),
    CURVE_P521: ec.SECP521R1(),
}
_SCHEMES = {Alg.RSA: {Alg.RSASSA, Alg.RSAPSS, Alg.OAEP, Alg.RSAES}, Alg.ECC: {Alg.ECDSA}}
_WITHOUT_HASH = {Alg.RSAES}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class PublicArea:
    """One, parsed. `encoded` is the whole TPMT_PUBLIC; where it has no scheme, `scheme` is Alg.NULL."""

    encoded: bytes = field(repr=False)
    name_hash: int
    attributes: int
    symmetric: tuple[int, int, int]  # algorithm, bits, mode; of keys that others are wrapped by
    scheme: int
    scheme_hash: int
    key: PublicKey

    @classmethod
    def parse(cls, data: bytes, what: str) -> PublicArea:
        """The one that *data* is; raises UNAUTHENTICATED, naming *what*, for anything else or another kind of key."""
        reader = Reader(data, what)
        if len(data) > MAX_PUBLIC:
            raise reader.refused(f"it has more than {MAX_PUBLIC} bytes")
        kind, name_hash, attributes = reader.number(2), reader.number(2), reader.number(4)
        if kind not in _SCHEMES:
            raise reader.refused("its key is neither RSA nor on an elliptic curve")
        if name_hash not in HASHES:
            raise reader.refused("its name is not made by SHA-256, SHA-384 or SHA-512")
        reader.sized()  # authPolicy: how its owner may use it, which is its TPM's business
        symmetric = _symmetric(reader)
        scheme, scheme_hash = _scheme(reader, Alg(kind))
        key = _rsa(reader) if kind == Alg.RSA else _ecc(reader)
        reader.end()
        return cls(data, name_hash, attributes, symmetric, scheme, scheme_hash, key)

    @property
    def name(self) -> bytes:
        """The key's name: the hash algorithm, and by it the hash of the whole area (Part 1, 16)."""
        return number(self.name_hash, 2) + digest(HASHES[self.name_hash], self.encoded)

    def has(self, *attributes: Attribute) -> bool:
        """Whether it has all of *attributes*."""
        return all(self.attributes & attribute for attribute in attributes)


def _symmetric(reader: Reader) -> tuple[int, int, int]:
    algorithm = reader.number(2)
    return (algorithm, 0, 0) if algorithm == Alg.NULL else (algorithm, reader.number(2), reader.number(2))


def _scheme(reader: Reader, kind: Alg) -> tuple[int, int]:
    scheme = reader.number(2)
    if scheme == Alg.NULL:
        return scheme, 0
    if scheme not in _SCHEMES[kind]:
        raise reader.refused("its scheme is unknown")
    return scheme, 0 if scheme in _WITHOUT_HASH else reader.number(2)


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4) or MAX_EXPONENT
    modulus = reader.sized()
    if not MIN_RSA <= bits <= MAX_RSA or len(modulus) * 8 != bits or exponent > MAX_EXPONENT:
        raise reader.refused(f"an RSA key has {MIN_RSA} to {MAX_RSA} bits and an exponent of at most {MAX_EXPONENT}")
    try:
        key = rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus)).public_key()
    except ValueError:
        raise _no_key(reader) from None
    if key.key_size != bits or not modulus[-1] % 2:  # `cryptography` takes an even modulus, and can't calculate with it
        raise _no_key(reader)
    return key


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve = _CURVES.get(reader.number(2))
    if curve is None:
        raise reader.refused("its curve is not P-256, P-384 or P-521")
    if reader.number(2) != Alg.NULL:
        raise reader.refused("it has a scheme of derivation")
    x, y = reader.sized(), reader.sized()
    size = (curve.key_size + 7) // 8
    if not 0 < len(x) <= size or not 0 < len(y) <= size:
        raise _no_key(reader)
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()
    except ValueError:  # not on the curve
        raise _no_key(reader) from None


def _no_key(reader: Reader) -> RingfenceError:
    return reader.refused("its key is none")
