"""Who makes the present call, for the audit log: set once where a call comes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ACTOR: ContextVar[str] = ContextVar("ringfence_actor", default="")


def present_actor() -> str:
    """Whoever makes the present call; empty outside of one."""
    return _ACTOR.get()


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """What is done inside is done by *actor*."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)
