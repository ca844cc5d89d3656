"""What a step of the authority is called in the audit log: told from the keys before and after it."""

from __future__ import annotations

from typing import Any

from ringfence.broker.audit.record import Event
from ringfence.certs.authority import Authority

Keys = dict[str, Any]


def keys_of(authority: Authority) -> Keys:
    """The ids of its keys by kind and slot; ids only."""
    following = authority.next
    return {
        "x509": {
            "current": authority.current.x509.subject_key_id,
            "next": following.x509.subject_key_id if following is not None else "",
            "old": [old.x509.subject_key_id for old in authority.old],
        },
        "jwt": {
            "current": authority.current.jwt.kid,
            "next": following.jwt.kid if following is not None else "",
            "old": [old.jwt.kid for old in authority.old],
        },
    }


def published(before: Keys | None, after: Keys, sequence: int) -> Event:
    """The event of publishing *after* as the bundle *sequence*, in place of *before* (None: the first of all)."""
    detail = {"sequence": sequence, **after}
    return Event(f"authority.{_step(before, after)}", after["x509"]["current"], detail=detail)


def _step(before: Keys | None, after: Keys) -> str:
    if before is None:
        return "create"
    old, new = before["x509"], after["x509"]
    if old["current"] != new["current"]:
        return "activate"
    if new["next"] and old["next"] != new["next"]:
        return "prepare"
    if len(new["old"]) < len(old["old"]):
        return "prune"
    return "publish"
