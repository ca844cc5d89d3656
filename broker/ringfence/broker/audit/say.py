"""What an admin call is called in the audit log, what it is about, and what came of it; never its secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ringfence.broker.audit.record import OK, Event

_ACTIONS = {
    "GenerateToken": "token.generate",
    "CreateEntries": "entry.create",
    "UpdateEntries": "entry.update",
    "DeleteEntries": "entry.delete",
    "ApplyEntries": "entry.apply",
    "ApplyPolicy": "policy.apply",
    "Rotate": "authority.rotate",
    "EvictNodes": "node.evict",
    "BanNodes": "node.ban",
    "RevokeIdentities": "identity.revoke",
    "LiftRevocations": "identity.lift",
    "ForgetServer": "server.forget",
}
# Fields that name what a call is about, in any message; no field that could hold a secret is among them.
_SINGLE = ("spiffe_id", "ids", "id", "serial", "authority", "trust_domain", "name", "revision")
_NAMES = (*_SINGLE, "spiffe_ids", "serials", "nodes")


def is_dry_run(request: Any) -> bool:
    """Whether *request* says that nothing is to be changed."""
    return getattr(request, "dry_run", False) is True


def asked(method: str, request: Any) -> Event:
    """The event that *request* begins."""
    action = _ACTIONS.get(method, f"admin.{method}")
    entries = getattr(request, "entries", None)
    if entries is not None:
        return Event(action, _one_or_count([entry.spiffe_id for entry in entries], "entries"))
    return Event(action, _subject(request), detail=_ASKED.get(method, _nothing)(request))


def done(method: str, event: Event, response: Any) -> Event:
    """What came of *event*, from the answer to it."""
    said = _DONE.get(method, _nothing)(response)
    subject, result = said.pop("subject", event.subject), said.pop("result", OK)
    return replace(event, subject=subject, result=result, detail={**event.detail, **said})


def _subject(request: Any) -> str:
    for name in _NAMES:
        value = getattr(request, name, None)
        if isinstance(value, str) and value:
            return value[:2048]
        if value and not isinstance(value, str | bool | int | bytes):
            return _one_or_count([str(each) for each in value], name)
    return ""


def _one_or_count(values: list[str], what: str) -> str:
    return values[0][:2048] if len(values) == 1 else f"{len(values)} {what}"


def _nothing(_: Any) -> dict[str, Any]:
    return {}


def _token(response: Any) -> dict[str, Any]:
    # Its hash is what the store and the agent's SPIFFE ID know it by.
    digest = hashlib.sha256(response.token.encode()).hexdigest()
    return {"subject": digest, "expires_at": response.expires_at}


def _created(response: Any) -> dict[str, Any]:
    return {"entries": [[r.entry.id, r.entry.spiffe_id, r.action] for r in response.results]}


def _applied(response: Any) -> dict[str, Any]:
    errors = sum(finding.level == "error" for finding in response.findings)
    changes = [[change.document, change.action] for change in response.changes if change.action != "unchanged"]
    result = f"failed: {errors} errors in the documents" if errors else OK
    return {"subject": response.revision, "result": result, "changes": changes}


def _revoked(response: Any) -> dict[str, Any]:
    return {"results": [[r.kind, r.subject, r.action, r.documents] for r in response.results]}


def _nodes(response: Any) -> dict[str, Any]:
    return {"nodes": [[r.spiffe_id, r.action] for r in response.results]}


_ASKED: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "ApplyPolicy": lambda request: {"author": request.author[:256], "commit": request.commit[:64]},
    "DeleteEntries": lambda request: {"ids": list(request.ids)},
    "Rotate": lambda request: {"new_authority": request.authority},
    "BanNodes": lambda request: {"reason": request.reason[:256]} if request.reason else {},
    "RevokeIdentities": lambda request: {
        "reason": request.reason[:256],
        "code": request.code[:32],
        "until": request.until,
    },
}
_DONE: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "GenerateToken": _token,
    "CreateEntries": _created,
    "UpdateEntries": _created,
    "ApplyEntries": _created,
    "DeleteEntries": lambda response: {"deleted": list(response.deleted)},
    "ApplyPolicy": _applied,
    "EvictNodes": _nodes,
    "BanNodes": _nodes,
    "RevokeIdentities": _revoked,
    "LiftRevocations": _revoked,
    "Rotate": lambda response: {"subject": response.authority},
}
