"""A failed call in the words of the person who ran the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ringfence.broker.status import error_of
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    import grpc.aio

_NOT_THERE = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT})
_REVOKED = "It is given again after `ringfence identity lift`"


def refusal(error: grpc.aio.AioRpcError, what: str, *, where: str, hints: Mapping[Kind, str]) -> RingfenceError:
    """*error* as ours: *what* failed, on *where*; the other side's hint, or for its kind the one in *hints*."""
    found = error_of(error, where=where)
    ours = hints.get(found.kind, "")
    hint = ours or found.hint if found.kind in _NOT_THERE else found.hint or ours
    # No document mends that: what is said for a denial would have people look in the intent.
    hint = _REVOKED if found.kind is Kind.DENIED and found.detail.endswith("was revoked") else hint
    return RingfenceError(found.kind, f"{what}: {found.detail}", where=found.where or where, hint=hint)
