"""The admin API's part on access itself: whom the server takes the caller for, and what that caller may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.present import present
from ringfence.broker.access.refusal import denied
from ringfence.broker.access.rights import Caller, Role
from ringfence.broker.access.table import NEEDS, Need, Scope, allowed
from ringfence.certs.errors import Kind, RingfenceError


def unary() -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """What answers each call."""
    return {"DescribeCaller": describe_caller, "CheckAccess": check_access}


async def describe_caller(_: pb.DescribeCallerRequest) -> pb.DescribeCallerResponse:
    """Who calls, which rights that gives, and by which grants."""
    caller = present()
    rights = caller.rights
    return pb.DescribeCallerResponse(
        subject=caller.subject.name,
        admin=rights.admin,
        edits=sorted(rights.edits),
        views=sorted(rights.views),
        views_all=rights.views_all,
        because=rights.because,
    )


async def check_access(asked: pb.CheckAccessRequest) -> pb.CheckAccessResponse:
    """Whether the caller may make a call at all, or on one namespace; raises NOT_FOUND for a call that there is not."""
    caller = present()
    need = NEEDS.get(asked.method)
    if need is None:
        from difflib import get_close_matches

        close = get_close_matches(asked.method, NEEDS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(sorted(NEEDS))}"
        raise RingfenceError(Kind.NOT_FOUND, f"there is no call {asked.method!r}", hint=hint)
    if may(need, caller, asked.namespace):
        return pb.CheckAccessResponse(allowed=True, detail=f"{caller.subject.name} is {caller.rights}")
    return pb.CheckAccessResponse(allowed=False, detail=str(denied(caller, need.what, need.role, asked.namespace)))


def may(need: Need, caller: Caller, namespace: str) -> bool:
    """Whether *caller* may make the call: on *namespace*, or (empty) on anything at all."""
    if not allowed(need, caller.rights) or not namespace or need.scope is not Scope.NAMESPACE:
        return allowed(need, caller.rights)
    return caller.rights.sees(namespace) if need.role is Role.VIEWER else caller.rights.changes(namespace)
