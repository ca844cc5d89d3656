"""Secrets in every form in which one could slip out, and where one did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

_MARK = b"PRIVATE KEY-----"  # of any PEM form


@dataclass(slots=True)
class Secrets:
    """What must not be seen, by a name that may be."""

    known: dict[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)

    def add(self, name: str, text: str) -> None:
        """A token, passphrase or other text: as it is, and as base64."""
        whole = text.encode()
        self.known[name] = (whole, base64.b64encode(whole).rstrip(b"="), whole.hex().encode())

    def add_token(self, name: str, token: str) -> None:
        """A JWT: its signature is what makes it one, and whoever has that may have cut off the rest."""
        self.known[name] = (token.encode(), token.rpartition(".")[2].encode())

    def add_key(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        """A private key: its number in every spelling, alone or within DER and PEM."""
        self.known[name] = tuple(_spellings(key))

    def in_(self, seen: bytes, *, but: frozenset[str] = frozenset()) -> list[str]:
        """The names of those in *seen*, other than those of *but*."""
        found = [name for name, forms in self.known.items() if name not in but and any(form in seen for form in forms)]
        return found + (["some key in PEM"] if _MARK in seen else [])


def key_of_agent(folder: Path) -> ec.EllipticCurvePrivateKey:
    """An agent's own key, as it keeps it."""
    kept = json.loads((folder / "identity.json").read_bytes())["svid"]
    return _elliptic(load_der_private_key(base64.b64decode(kept["key"]), None))


def keys_in(folder: Path, passphrase: str | None = None) -> Iterator[ec.EllipticCurvePrivateKey]:
    """The private keys in the PEM files of a folder."""
    for path in sorted(folder.iterdir()):
        if b"PRIVATE KEY-----" in (text := path.read_bytes()):
            yield _elliptic(load_pem_private_key(text, passphrase.encode() if passphrase else None))


def _elliptic(key: object) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _spellings(key: ec.EllipticCurvePrivateKey) -> Iterator[bytes]:
    number = key.private_numbers().private_value
    raw = number.to_bytes(32, "big")
    yield from (raw, raw.hex().encode(), raw.hex().upper().encode(), raw.hex(":").encode(), str(number).encode())
    yield repr(raw)[2:-1].encode()
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        yield from (der.hex().encode(), repr(der)[2:-1].encode(), base64.b64encode(der)[:80])
        yield from key.private_bytes(Encoding.PEM, form, NoEncryption()).splitlines()[1:2]
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")  # `d` of a JWK
    yield base64.b64encode(raw).rstrip(b"=")
