"""A failed call in the words of the person who ran the command."""

from __future__ import annotations

import grpc

from ringfence.certs.errors import Kind, RingfenceError

_KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.INVALID,
    grpc.StatusCode.PERMISSION_DENIED: Kind.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: Kind.UNAUTHENTICATED,
    grpc.StatusCode.NOT_FOUND: Kind.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Kind.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.TIMEOUT,
    grpc.StatusCode.UNIMPLEMENTED: Kind.UNIMPLEMENTED,
}


def refusal(error: grpc.aio.AioRpcError, what: str, *, where: str, hints: dict[Kind, str]) -> RingfenceError:
    """*error* as ours: *what* failed, on *where*, with the next step for its kind."""
    kind = _KINDS.get(error.code(), Kind.UNAVAILABLE)
    detail = (error.details() or error.code().name).rstrip(".")
    return RingfenceError(kind, f"{what}: {detail}", where=where, hint=hints.get(kind, ""))
