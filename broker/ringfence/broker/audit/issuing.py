"""Issued and refused SVIDs as the audit log has them: one record a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ringfence.broker.audit.record import OK, Event
from ringfence.certs.errors import RingfenceError

REFUSED = "refused"
_TEXT = 256  # characters that a stranger's text may take

Issued = tuple[str, str, str]  # serial, SPIFFE ID, entry id
Refusal = tuple[str, RingfenceError]  # entry id as it was asked for


def batch(kind: str, agent: str, issued: Sequence[Issued], refused: Sequence[Refusal]) -> list[Event]:
    """The record of what *agent* asked for at once: *kind* is x509 or jwt. None for an empty batch."""
    if not issued and not refused:
        return []
    detail: dict[str, object] = {"kind": kind, "issued": [list(each) for each in issued]}
    if refused:
        detail["refused"] = [[entry[:64], error.kind.value, error.detail[:_TEXT]] for entry, error in refused]
    result = OK if not refused else REFUSED if not issued else f"{len(refused)} of {len(issued) + len(refused)} refused"
    return [Event("svid.issue", agent, result, detail, agent)]
