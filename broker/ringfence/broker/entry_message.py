"""Entries as the admin API says them and as it is told them."""

from __future__ import annotations

from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.entry import Entry, any_node, check_entry, selectors_of
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


def entry_of(said: Any, trust_domain: TrustDomain, *, keep: bool = False) -> Entry:
    """The entry that an operator asks for; its id and revision count only if they are to be kept. Raises INVALID."""
    parent = SpiffeId.parse(said.parent_id) if said.parent_id else any_node(trust_domain)
    spiffe_id, template = _name(said.spiffe_id)
    entry = Entry(
        id=said.id if keep else "",
        revision=said.revision if keep else 0,
        spiffe_id=spiffe_id,
        parent_id=parent,
        selectors=selectors_of(said.selectors),
        x509_ttl=said.x509_ttl,
        jwt_ttl=said.jwt_ttl,
        dns_names=tuple(dict.fromkeys(said.dns_names)),
        hint=said.hint,
        expires_at=said.expires_at,
        federates_with=tuple(sorted({TrustDomain(name) for name in said.federates_with})),
        admin=said.admin,
        downstream=said.downstream,
        store_svid=said.store_svid,
        jwt_jti=said.jwt_jti,
        template=template,
    )
    return check_entry(entry, trust_domain)


def entry_message(entry: Entry) -> pb.Entry:
    """*entry* in full."""
    return pb.Entry(
        id=entry.id,
        spiffe_id=entry.name,
        parent_id=str(entry.parent_id),
        selectors=map(str, entry.selectors),
        x509_ttl=entry.x509_ttl,
        jwt_ttl=entry.jwt_ttl,
        dns_names=entry.dns_names,
        hint=entry.hint,
        created_at=entry.created_at,
        revision=entry.revision,
        origin=entry.origin,
        expires_at=entry.expires_at,
        federates_with=[domain.name for domain in entry.federates_with],
        admin=entry.admin,
        downstream=entry.downstream,
        store_svid=entry.store_svid,
        jwt_jti=entry.jwt_jti,
    )


def _name(text: str) -> tuple[SpiffeId, str]:
    """The identity, or the trust domain's and a template: `spiffe://example.org/ns/{k8s.ns}`."""
    if "{" not in text:
        return SpiffeId.parse(text), ""
    domain, slash, path = text.partition("://")[2].partition("/")
    return SpiffeId.parse(f"{text.partition('://')[0]}://{domain}"), slash + path
