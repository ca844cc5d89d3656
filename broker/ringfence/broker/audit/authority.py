"""What a step of the authority is called in the audit log: told from the keys before and after it."""

from __future__ import annotations

from typing import Any

from ringfence.broker.audit.record import Event
from ringfence.certs.authority import Authority

Keys = dict[str, Any]


def keys_of(authority: Authority) -> Keys:
    """The ids of its keys by kind and slot; ids only."""
    return {
        line.kind: {
            "current": line.current.id,
            "next": line.next.id if line.next is not None else "",
            "old": [old.id for old in line.old],
            "tainted": sorted(line.tainted),
        }
        for line in authority.lines
    }


def published(before: Keys | None, after: Keys, sequence: int) -> Event:
    """The event of publishing *after* as the bundle *sequence*, in place of *before* (None: the first of all)."""
    detail = {"sequence": sequence, **after}
    step, subject = ("create", "") if before is None else _step(before, after)
    return Event(f"authority.{step}", subject or after["x509"]["current"], detail=detail)


def _step(before: Keys, after: Keys) -> tuple[str, str]:
    """What was done, and the authority that it was done to: the X.509 one when it was both."""
    for kind in [*after, *before]:
        if (step := _step_of(before.get(kind), after.get(kind))) is not None:
            return step
    return "publish", ""


def _step_of(old: Keys | None, new: Keys | None) -> tuple[str, str] | None:
    """The same for one kind, which may have come or gone with a feature; None when nothing was done to it."""
    if old is None or new is None:
        return ("create" if old is None else "drop"), (new or old or {})["current"]
    if old["current"] != new["current"]:
        return "activate", new["current"]
    if new["next"] and old["next"] != new["next"]:
        return "prepare", new["next"]
    if fresh := set(new["tainted"]) - set(old["tainted"]):
        return "taint", min(fresh)
    if gone := set(old["old"]) - set(new["old"]):
        tainted = gone & set(old["tainted"])
        return ("revoke", min(tainted)) if tainted else ("prune", min(gone))
    return None
