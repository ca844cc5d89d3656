"""JSON Web Key Sets of others (RFC 7517): public signing keys that a proxy can verify by, and nothing secret."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_SECRET = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})
_MIN_RSA_BITS = 2048  # RFC 7518 section 3.3


def check_jwks(text: str) -> str:
    """The same set in one spelling; raises ValueError with what is wrong with it."""
    keys = _keys(text)
    for index, key in enumerate(keys):
        if wrong := _what_is_wrong(key):
            raise ValueError(f"key {index + 1} of it: {wrong}")
    return _spelled(keys)


def usable_keys(text: str) -> str:
    """The keys of a set as others publish it that a proxy can verify by; raises ValueError where there is none.

    A key for something else, or of a kind that we do not know, is another reader's (RFC 7517 section 5).
    """
    keys = _keys(text)
    usable = [key for key in keys if not _what_is_wrong(key)]
    if not usable:
        raise ValueError(f"key 1 of it: {_what_is_wrong(keys[0])}")
    return _spelled(usable)


def _keys(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not keys:
        raise ValueError('it is no {"keys": [...]} with at least one key')
    return keys


def _what_is_wrong(key: Any) -> str:
    """With one key; empty where nothing is."""
    try:
        _check_key(key)
    except (KeyError, TypeError, ValueError) as error:
        return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error).rstrip(".") or "unreadable"
    return ""


def _spelled(keys: list[Any]) -> str:
    return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"))


def _check_key(key: Any) -> None:
    if not isinstance(key, dict):
        raise TypeError("it is no object")
    # A secret that verifies can also sign: whoever reads the intent could make tokens.
    if secret := sorted(_SECRET & key.keys()):
        raise ValueError(f"{secret[0]} is secret, and has no place here")
    if key.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures")
    match key.get("kty"):
        case "RSA":
            _check_rsa(key)
        case "EC":
            x, y, curve = _number(key["x"]), _number(key["y"]), _CURVES.get(key["crv"])
            if curve is None:
                raise ValueError(f"its curve is none of {', '.join(_CURVES)}")
            ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        case "OKP" if key.get("crv") == "Ed25519":
            Ed25519PublicKey.from_public_bytes(_bytes(key["x"]))
        case kind:
            raise ValueError(f"kty {kind!r} is none of RSA, EC and OKP with Ed25519")


def _check_rsa(key: dict[str, Any]) -> None:
    public = RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
    if public.key_size < _MIN_RSA_BITS:
        raise ValueError(f"it has {public.key_size} bits, fewer than {_MIN_RSA_BITS}")


def _number(text: Any) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("a number of it is no text")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
