"""Findings and authorities as the admin API says them."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.intent import Outcome
from ringfence.certs.authority import Authority
from ringfence.certs.slot import Slot


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
