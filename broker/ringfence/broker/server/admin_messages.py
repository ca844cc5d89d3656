"""Entries, findings and authorities as the admin API says them, and entries as it is told them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.entry import Entry, any_node, check_entry, selectors_of
from ringfence.broker.intent import Outcome
from ringfence.certs.authority import Authority
from ringfence.certs.slot import Slot
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


def entry_of(said: Any, trust_domain: TrustDomain) -> Entry:
    """The entry that an operator asks for; raises INVALID."""
    parent = SpiffeId.parse(said.parent_id) if said.parent_id else any_node(trust_domain)
    entry = Entry(
        id="",
        spiffe_id=SpiffeId.parse(said.spiffe_id),
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
    )
    return check_entry(entry, trust_domain)


def entry_message(entry: Entry) -> pb.Entry:
    """*entry* in full."""
    return pb.Entry(
        id=entry.id,
        spiffe_id=str(entry.spiffe_id),
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


def apply_response(outcome: Outcome) -> pb.ApplyPolicyResponse:
    """What an apply did."""
    return pb.ApplyPolicyResponse(
        revision=outcome.revision,
        changes=[pb.Change(document=document, action=action) for document, action in outcome.changes],
        findings=[
            pb.Finding(
                code=finding.code,
                level=finding.level,
                path=finding.path,
                line=finding.line,
                column=finding.column,
                message=finding.message,
                hint=finding.hint,
            )
            for finding in outcome.findings
        ],
        proxies=outcome.proxies,
    )


def authority_messages(authority: Authority) -> Iterator[pb.Authority]:
    """Every slot of the authority, the signing one first."""
    following = [("next", authority.next)] if authority.next is not None else []
    slots: list[tuple[str, Slot]] = [("current", authority.current), *following]
    for name, slot in [*slots, *(("old", old) for old in authority.old)]:
        for kind, part, key in (("x509", slot.x509, slot.x509.subject_key_id), ("jwt", slot.jwt, slot.jwt.kid)):
            yield pb.Authority(
                kind=kind,
                slot=name,
                id=key,
                not_before=int(part.not_before.timestamp()),
                not_after=int(part.not_after.timestamp()),
            )
