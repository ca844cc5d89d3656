"""The one map between our errors and gRPC statuses, for both ends of a call."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, assert_never

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    import grpc.aio

# What a client needs to show the same failure again; text is UTF-8, hence -bin.
_KIND, _WHERE, _HINT = "ringfence-kind", "ringfence-where-bin", "ringfence-hint-bin"


def code_of(kind: Kind) -> Code:  # noqa: PLR0911  # one line a kind
    """The gRPC code of a kind of failure."""
    match kind:
        case Kind.INVALID:
            return Code.INVALID_ARGUMENT
        case Kind.DENIED:
            return Code.PERMISSION_DENIED
        case Kind.UNAUTHENTICATED:
            return Code.UNAUTHENTICATED
        case Kind.NOT_FOUND:
            return Code.NOT_FOUND
        case Kind.CONFLICT:
            return Code.ALREADY_EXISTS
        case Kind.EXHAUSTED:
            return Code.RESOURCE_EXHAUSTED
        case Kind.UNAVAILABLE:
            return Code.UNAVAILABLE
        case Kind.TIMEOUT:
            return Code.DEADLINE_EXCEEDED
        case Kind.UNIMPLEMENTED:
            return Code.UNIMPLEMENTED
        case _:
            assert_never(kind)


def kind_of(code: int) -> Kind:
    """The kind of failure that a code stands for; what we never send counts as unavailable."""
    return next((kind for kind in Kind if code_of(kind) == code), Kind.UNAVAILABLE)


def status_of(error: RingfenceError) -> Status:
    """How a call ends with *error*."""
    trailers: dict[str, str | bytes] = {_KIND: error.kind.name}
    if error.where:
        trailers[_WHERE] = error.where.encode()
    if error.hint:
        trailers[_HINT] = error.hint.encode()
    return Status(code_of(error.kind), error.detail, trailers)


def hidden(error: Exception) -> Status:
    """The lane's `on_error`: our failures in their words, anything else without its text, logged once here."""
    if isinstance(error, RingfenceError):
        return status_of(error)
    from ringfence.broker.log import log

    # Without source lines: reading them would block the loop that everyone else's calls run in.
    frames = [f"{f.f_code.co_filename}:{line} {f.f_code.co_name}" for f, line in traceback.walk_tb(error.__traceback__)]
    log.error("a call failed inside", error=type(error).__name__, detail=str(error), frames=frames)
    return Status(Code.INTERNAL, "an internal error; the server's log has it")


def error_of(failure: grpc.aio.AioRpcError, *, where: str) -> RingfenceError:
    """What a client shows for a call that failed: the server's own error, or that *where* cannot be reached."""
    metadata: Any = failure.trailing_metadata() or ()  # pairs, whatever the stubs say
    sent: dict[str, str | bytes] = dict(metadata)
    kind_name = sent.get(_KIND)
    kind = Kind[str(kind_name)] if kind_name in Kind.__members__ else kind_of(failure.code().value[0])
    detail = failure.details() or failure.code().name
    if kind_name is None and kind is Kind.UNAVAILABLE:
        reason = detail.rpartition(": ")[2]  # grpc wraps the system's text in several layers of its own
        return RingfenceError(kind, f"no answer ({reason})", where=where, hint="Check that it runs and is reachable")
    if kind_name is None and kind is Kind.TIMEOUT:  # by grpc's clock or by the other side's: in different words
        return RingfenceError(kind, "no answer in time", where=where, hint="Check that it is well, or try again")
    return RingfenceError(kind, detail, where=_text(sent.get(_WHERE)), hint=_text(sent.get(_HINT)))


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
