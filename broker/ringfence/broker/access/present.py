"""Who makes the present admin call and what they may do: set by the guard, once a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ringfence.broker.access.rights import Caller
from ringfence.certs.errors import Kind, RingfenceError

_CALLER: ContextVar[Caller | None] = ContextVar("ringfence_caller", default=None)


def present() -> Caller:
    """Whoever makes the present call; raises DENIED outside of one, where nobody has any right."""
    caller = _CALLER.get()
    if caller is None:
        raise RingfenceError(Kind.DENIED, "nobody is known to make this call")
    return caller


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """What is done inside is asked by *caller*."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)
