"""Authorities as plain JSON values, and back: certificates and key names, never a private key."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.line import Line, Part
from ringfence.certs.slot import JwtAuthority, TokenAuthority, WitAuthority, X509Authority
from ringfence.certs.spiffe_id import TrustDomain

X509, JWT, WIT = "x509", "jwt", "wit"
P = TypeVar("P", bound=Part)
T = TypeVar("T", bound=TokenAuthority)


class Parts(TypedDict):
    """What an authority is made of, by the names of its constructor's arguments."""

    x509: Line[X509Authority]
    jwt: Line[JwtAuthority]
    wit: Line[WitAuthority] | None
    ca_ttl: timedelta


def dump_authority(
    trust_domain: TrustDomain,
    ca_ttl: timedelta,
    x509: Line[X509Authority],
    jwt: Line[JwtAuthority],
    wit: Line[WitAuthority] | None,
) -> dict[str, Any]:
    """Everything that `load_authority` reads; nothing on WIT keys when there are none."""
    return {
        "trust_domain": trust_domain.name,
        "ca_ttl_seconds": int(ca_ttl.total_seconds()),
        X509: _dump_line(x509, _dump_x509),
        JWT: _dump_line(jwt, _dump_token),
        **({WIT: _dump_line(wit, _dump_token)} if wit is not None else {}),
    }


def load_authority(state: Mapping[str, Any], keys: KeyManager, *, signs: bool = True) -> Parts:
    """The parts of an authority. One that *signs* needs the keys of `current` and `next`; old ones sign no more."""
    try:
        trust_domain = TrustDomain(state["trust_domain"])
        x509 = _load_line(X509, state[X509], lambda one: _load_x509(one, trust_domain, keys))
        jwt = _load_line(JWT, state[JWT], lambda one: _load_token(JwtAuthority, one))
        wit = _load_line(WIT, state[WIT], lambda one: _load_token(WitAuthority, one)) if WIT in state else None
        ca_ttl = timedelta(seconds=state["ca_ttl_seconds"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise RingfenceError(
            Kind.INVALID, "the stored authority cannot be read", hint="Restore the store from a backup"
        ) from None
    if not signs:
        return {"x509": x509, "jwt": jwt, "wit": wit, "ca_ttl": ca_ttl}
    for root in filter(None, (x509.current, x509.next)):
        _check_held(root.key_id, root.certificate.public_key(), keys)
    for key in filter(None, (jwt.current, jwt.next, *((wit.current, wit.next) if wit is not None else ()))):
        _check_held(key.key_id, key.public_key, keys)
    return {"x509": x509, "jwt": jwt, "wit": wit, "ca_ttl": ca_ttl}


def _dump_line(line: Line[P], dump: Callable[[P], dict[str, Any]]) -> dict[str, Any]:
    return {
        "current": dump(line.current),
        "next": dump(line.next) if line.next is not None else None,
        "old": [dump(one) for one in line.old],
        "tainted": sorted(line.tainted),
    }


def _load_line(kind: str, state: Mapping[str, Any], load: Callable[[Mapping[str, Any]], P]) -> Line[P]:
    return Line(
        kind,
        load(state["current"]),
        following=load(state["next"]) if state["next"] else None,
        old=tuple(load(one) for one in state["old"]),
        tainted=frozenset(state["tainted"]),
    )


def _dump_x509(root: X509Authority) -> dict[str, Any]:
    return {
        "certificate": base64.b64encode(root.der).decode(),
        "key_id": root.key_id,
        "above": _texts(root.chain[1:]),
        "roots": _texts(root.roots if root.chain else ()),
    }


def _load_x509(state: Mapping[str, Any], trust_domain: TrustDomain, keys: KeyManager) -> X509Authority:
    return X509Authority(
        trust_domain,
        base64.b64decode(state["certificate"]),
        key_id=state["key_id"],
        keys=keys,
        above=tuple(map(base64.b64decode, state["above"])),
        roots=tuple(map(base64.b64decode, state["roots"])),
    )


def _texts(certificates: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(der).decode() for der in certificates]


def _dump_token(key: TokenAuthority) -> dict[str, Any]:
    spki = key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "kid": key.kid,
        "public_key": base64.b64encode(spki).decode(),
        "not_before": int(key.not_before.timestamp()),
        "not_after": int(key.not_after.timestamp()),
    }


def _load_token(kind: type[T], state: Mapping[str, Any]) -> T:
    key = load_der_public_key(base64.b64decode(state["public_key"]))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(key)
    begins, ends = (datetime.fromtimestamp(state[name], UTC) for name in ("not_before", "not_after"))
    return kind(state["kid"], key, begins, ends)


def _check_held(key_id: str, public_key: object, keys: KeyManager) -> None:
    # A key manager restored from elsewhere may hold another key under the same name: then nothing verifies.
    if keys.public_key(key_id) != public_key:
        raise RingfenceError(
            Kind.INVALID,
            f"the key manager's {key_id!r} is not the key of the stored authority",
            hint="Restore the keys and the store from the same backup",
        )
