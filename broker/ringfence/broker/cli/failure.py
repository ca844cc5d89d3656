"""What a failure says to a person, and the exit code it ends with."""

from __future__ import annotations

import os
import traceback
from typing import assert_never

from ringfence.certs.errors import Kind, RingfenceError

# One meaning a number, over all commands (docs/cli.md).
OK, FAILED, USAGE, ANSWER_IS_NO, INVALID_INPUT, NOT_AUTHORISED, TIMED_OUT = 0, 1, 2, 3, 4, 5, 6


def exit_code(error: Exception) -> int:
    """The documented exit code of *error*."""
    if not isinstance(error, RingfenceError):
        return FAILED
    match error.kind:
        case Kind.INVALID:
            return INVALID_INPUT
        case Kind.DENIED | Kind.UNAUTHENTICATED:
            return NOT_AUTHORISED
        case Kind.TIMEOUT:
            return TIMED_OUT
        case Kind.NOT_FOUND | Kind.CONFLICT | Kind.EXHAUSTED | Kind.UNAVAILABLE | Kind.UNIMPLEMENTED:
            return FAILED
        case _:
            assert_never(error.kind)


def explain_failure(error: Exception) -> str:
    """One or two lines: what failed, on what, where, and the next step."""
    if isinstance(error, RingfenceError):
        return f"Error: {error}"
    if isinstance(error, OSError):
        return f"Error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    if os.environ.get("RINGFENCE_DEBUG"):
        return "".join(traceback.format_exception(error))
    return f"Error: {type(error).__name__}: {error}. Run again with RINGFENCE_DEBUG=1 for the details"
