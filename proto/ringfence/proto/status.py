"""How a gRPC call ends: the sixteen codes and the exception that carries one (gRPC `statuscodes.md`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Code(IntEnum):
    """The status codes of gRPC, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(Exception):  # noqa: N818 - it is how a call ends, which is not always an error
    """The end of a call: *message* reaches the caller as it is; *trailers* follow it (`-bin` names take bytes)."""

    def __init__(self, code: Code, message: str = "", trailers: Mapping[str, str | bytes] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailers = dict(trailers or {})

    def __repr__(self) -> str:
        return f"Status({self.code.name}, {self.message!r})"
