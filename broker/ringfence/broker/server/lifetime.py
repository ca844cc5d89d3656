"""Why an SVID lives as long as it does: the entry, its document, the mesh, the default, or what cut it short."""

from __future__ import annotations

from ringfence.broker.entry import API_ORIGIN, DEFAULT_JWT_TTL, DEFAULT_X509_TTL, Entry
from ringfence.broker.store.inventory import Identity
from ringfence.certs.authority import Authority
from ringfence.policy.model import Model

_SLACK = 1  # seconds: the clock may have moved on between drafting and recording


def why_this_life(entry: Entry | None, identity: Identity | None, authority: Authority, model: Model | None) -> str:
    """In words, which of all that limits a life did so."""
    source, seconds = _wanted(entry, identity, model)
    if identity is None or identity.state == "refused":
        return source
    # 1. Exactly the life that was asked for.
    if abs(identity.not_after - identity.recorded_at - seconds) <= _SLACK:
        return source
    # 2. Cut short by the end of the authority that signed it, or of its entry.
    end = _end_of(authority, identity.authority)
    if end is not None and abs(identity.not_after - end) <= _SLACK:
        return f"cut short: its authority {identity.authority} ends then ({source})"
    if entry is not None and entry.expires_at and abs(identity.not_after - entry.expires_at) <= _SLACK:
        return f"cut short: its entry ends then ({source})"
    # 3. The entry is not what it was when this was issued.
    return f"as it was when this was issued; new ones: {source}"


def _wanted(entry: Entry | None, identity: Identity | None, model: Model | None) -> tuple[str, int]:
    """What says how long, and the seconds."""
    jwt = identity is not None and identity.kind == "jwt"
    default = DEFAULT_JWT_TTL if jwt else DEFAULT_X509_TTL
    given = 0 if entry is None else entry.jwt_ttl if jwt else entry.x509_ttl
    if entry is None or not given:
        return f"the default, {default} s", default
    if entry.origin == API_ORIGIN:
        return f"the entry says {given} s", given
    mesh = None if model is None else model.mesh.jwt_ttl if jwt else model.mesh.x509_ttl
    if mesh is not None and int(mesh.total_seconds()) == given:
        return f"the mesh says {given} s, and the document of {entry.origin} nothing else", given
    return f"the document of {entry.origin} says {given} s", given


def _end_of(authority: Authority, key_id: str) -> int | None:
    for line in authority.lines:
        for one in line.every():
            if one.id == key_id:
                return int(one.not_after.timestamp())
    return None
