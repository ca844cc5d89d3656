"""Findings as the admin API says them."""

from __future__ import annotations

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.intent import Outcome


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
