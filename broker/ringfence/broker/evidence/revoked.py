"""A refusal for a revocation, told: what is revoked, by whom, when and why."""

from __future__ import annotations

from datetime import UTC, datetime

from ringfence.admin.v1 import admin_pb2
from ringfence.certs.revocation import Revocations
from ringfence.policy.model import REVOKED

_DIGITS = 32


def tell_revoked(decision: admin_pb2.Decision, revocations: Revocations) -> None:
    """Add to a *decision* by a revocation why that was made, as far as it still holds."""
    if decision.rule != REVOKED:
        return
    identity = revocations.identity(decision.source) or revocations.identity(decision.destination)
    serial = revocations.serials.get(decision.attributes.get("peer.serial", "").rjust(_DIGITS, "0"))
    if identity is not None:
        decision.reason = f"{identity.spiffe_id} was revoked{_when(identity.revoked_at)}{_words(identity.reason)}"
        decision.author = identity.by
    elif serial is not None:
        decision.reason = f"its SVID {serial.serial} was revoked{_when(serial.revoked_at)}{_words(serial.reason)}"


def _when(seconds: int) -> str:
    return f" on {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d at %H:%M:%S} UTC"


def _words(reason: str) -> str:
    return f": {reason}" if reason else ""
