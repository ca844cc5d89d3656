"""A registration entry as a row of the database, and back."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Row

from ringfence.broker.entry import Entry
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


def row_of(entry: Entry) -> dict[str, object]:
    """The columns of *entry*."""
    return {
        "id": entry.id,
        "key": entry.key,
        "spiffe_id": str(entry.spiffe_id),
        "parent_id": str(entry.parent_id),
        "selectors": [str(selector) for selector in entry.selectors],
        "x509_ttl": entry.x509_ttl,
        "jwt_ttl": entry.jwt_ttl,
        "dns_names": list(entry.dns_names),
        "hint": entry.hint,
        "origin": entry.origin,
        "created_at": entry.created_at,
        "revision": entry.revision,
        "expires_at": entry.expires_at,
        "federates_with": [domain.name for domain in entry.federates_with],
        "admin": entry.admin,
        "downstream": entry.downstream,
        "store_svid": entry.store_svid,
        "jwt_jti": entry.jwt_jti,
        "template": entry.template,
    }


def entry_of(row: Row[tuple[object, ...]]) -> Entry:
    """The entry that a row of all columns keeps."""
    return Entry(
        id=row.id,
        spiffe_id=SpiffeId.parse(row.spiffe_id),
        parent_id=_parent(row.parent_id),
        selectors=tuple(Selector.kept(text) for text in row.selectors),
        x509_ttl=row.x509_ttl,
        jwt_ttl=row.jwt_ttl,
        dns_names=tuple(row.dns_names),
        hint=row.hint,
        origin=row.origin,
        created_at=row.created_at,
        revision=row.revision,
        expires_at=row.expires_at,
        federates_with=tuple(TrustDomain(name) for name in row.federates_with),
        admin=row.admin,
        downstream=row.downstream,
        store_svid=row.store_svid,
        jwt_jti=row.jwt_jti,
        template=row.template,
    )


@lru_cache(maxsize=4096)
def _parent(text: str) -> SpiffeId:
    """Parsed once: few agents are the parents of many entries."""
    return SpiffeId.parse(text)
