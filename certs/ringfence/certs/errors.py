"""The one error of Ringfence: what failed, on what, where, and the next step."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What sort of failure it is; edges map it to a gRPC status and to an exit code, exhaustively."""

    INVALID = "invalid"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    UNIMPLEMENTED = "unimplemented"


class RingfenceError(Exception):
    """A failure that may be shown as it is: `detail` and `hint` never hold a secret.

    `where` is `file:line[:column]` or an address; `hint` is the next step, a whole sentence.
    """

    def __init__(self, kind: Kind, detail: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.detail}" if self.where else self.detail
        return f"{text}. {self.hint}" if self.hint else text
