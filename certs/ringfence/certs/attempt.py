"""Steps over a batch: one item that is refused keeps its error and does not spoil the others.

A batch takes each step for all of its items before the next one. Python and the arithmetic of a signature push each
other out of a core's caches: in turns, item by item, the same work takes a quarter more of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ringfence.certs.errors import RingfenceError

A = TypeVar("A")
B = TypeVar("B")


def attempt(step: Callable[[A], B], item: A) -> B | RingfenceError:
    """What *step* makes of *item*, or why not."""
    try:
        return step(item)
    except RingfenceError as error:
        return error


def each(step: Callable[[A], B], items: Iterable[A | RingfenceError]) -> list[B | RingfenceError]:
    """What *step* makes of each of *items*, in order, or why not; what was refused before stays so, untried."""
    return [item if isinstance(item, RingfenceError) else attempt(step, item) for item in items]


def only(made: Iterable[A | RingfenceError]) -> A:
    """What a batch of one has made; raises why not."""
    (one,) = made
    if isinstance(one, RingfenceError):
        raise one
    return one
