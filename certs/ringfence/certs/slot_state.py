"""An authority's generations as plain JSON values, and back: certificates and key names, never a private key."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypedDict

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.slot import JwtAuthority, Slot, X509Authority
from ringfence.certs.spiffe_id import TrustDomain


class Parts(TypedDict):
    """What an authority is made of, by the names of its constructor's arguments."""

    current: Slot
    following: Slot | None
    old: tuple[Slot, ...]
    ca_ttl: timedelta


def dump(slot: Slot) -> dict[str, str]:
    """One generation as text values."""
    spki = slot.jwt.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "x509_certificate": base64.b64encode(slot.x509.der).decode(),
        "x509_key_id": slot.x509.key_id,
        "jwt_kid": slot.jwt.kid,
        "jwt_public_key": base64.b64encode(spki).decode(),
    }


def load_authority(state: Mapping[str, Any], keys: KeyManager) -> Parts:
    """The parts of an authority. The keys of `current` and `next` must be held by *keys*; old ones sign no more."""
    try:
        trust_domain = TrustDomain(state["trust_domain"])
        current = _load(state["current"], trust_domain, keys)
        following = _load(state["next"], trust_domain, keys) if state["next"] else None
        old = tuple(_load(slot, trust_domain, keys) for slot in state["old"])
        ca_ttl = timedelta(seconds=state["ca_ttl_seconds"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RingfenceError(
            Kind.INVALID, "the stored authority cannot be read", hint="Restore the store from a backup"
        ) from None
    for slot in (current, following):
        if slot is not None:
            _check_held(slot, keys)
    return {"current": current, "following": following, "old": old, "ca_ttl": ca_ttl}


def _load(state: Mapping[str, str], trust_domain: TrustDomain, keys: KeyManager) -> Slot:
    root = X509Authority(
        trust_domain, base64.b64decode(state["x509_certificate"]), key_id=state["x509_key_id"], keys=keys
    )
    key = load_der_public_key(base64.b64decode(state["jwt_public_key"]))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(key)
    return Slot(root, JwtAuthority(state["jwt_kid"], key, root.not_before, root.not_after))


def _check_held(slot: Slot, keys: KeyManager) -> None:
    # A key manager restored from elsewhere may hold another key under the same name: then nothing verifies.
    for key_id, public_key in (
        (slot.x509.key_id, slot.x509.certificate.public_key()),
        (slot.jwt.key_id, slot.jwt.public_key),
    ):
        if keys.public_key(key_id) != public_key:
            raise RingfenceError(
                Kind.INVALID,
                f"the key manager's {key_id!r} is not the key of the stored authority",
                hint="Restore the keys and the store from the same backup",
            )
