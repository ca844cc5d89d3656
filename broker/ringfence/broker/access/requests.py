"""What a request asks about or changes, where the handler itself does not look at whose it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ringfence.broker.access.namespaces import namespace_named
from ringfence.broker.access.reads import visible
from ringfence.broker.access.refusal import denied
from ringfence.broker.access.rights import Caller, Role

Check = Callable[[Any, Caller], None]


def _question(request: Any, caller: Caller) -> None:
    # Its answer says something of both ends, and is kept among the decisions.
    if not visible((request.source, request.destination), caller.rights):
        raise denied(caller, "ask what the intent says of others", Role.VIEWER)


def _revocation(request: Any, caller: Caller) -> None:
    # 1. A node is everybody's, and a serial does not say whose it is.
    if request.nodes or request.serials:
        raise denied(caller, "revoke nodes or serials", Role.ADMIN)
    # 2. Every identity is in a namespace of the caller's.
    for spiffe_id in request.spiffe_ids:
        namespace = namespace_named(spiffe_id)
        if not caller.rights.changes(namespace):
            raise denied(caller, f"revoke {spiffe_id}", Role.EDITOR if namespace else Role.ADMIN, namespace)


CHECKS: Mapping[str, Check] = {"CheckAuthz": _question, "RevokeIdentities": _revocation}


def check(method: str, request: Any, caller: Caller) -> None:
    """Raise DENIED for a request about what is not the caller's; an admin's is never."""
    if not caller.rights.admin and method in CHECKS:
        CHECKS[method](request, caller)
