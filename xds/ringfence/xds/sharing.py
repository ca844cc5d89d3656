"""What many proxies are sent alike is made once: results kept for those that are compiled next, a bounded number."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from operator import is_
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_kept: list[Callable[[], None]] = []


def shared(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A pure function that remembers its last *most* results; nobody changes what it gives."""

    def remembering(function: Callable[P, T]) -> Callable[P, T]:
        kept: Any = lru_cache(maxsize=most)(function)
        _kept.append(kept.cache_clear)
        remembered: Callable[P, T] = wraps(function)(kept)
        return remembered

    return remembering


def forget() -> None:
    """Forget every result, as in a process that has just started."""
    for clear in _kept:
        clear()


class Same:
    """Values that are equal to none but the same objects, so that to look for them costs nothing however big they are.

    It holds them: no other object can come to have their place in memory while a result of them is kept.
    """

    __slots__ = ("_hash", "of")

    def __init__(self, *of: Any) -> None:
        self.of = of
        self._hash = hash(tuple(map(id, of)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and len(self.of) == len(other.of) and all(map(is_, self.of, other.of))
