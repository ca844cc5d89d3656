"""What was made for one proxy last, with all that it was made of: its next snapshot makes only what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Made:
    """The last of each name. What makes it is pure, and nobody changes what it gives."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, tuple[tuple[object, ...], Any]] = {}

    def again(self, name: str, of: tuple[object, ...], make: Callable[[], T]) -> T:
        """What *make* gives, which depends on *of* alone beside the proxy: the last one where that is equal."""
        known = self._last.get(name)
        if known is None or known[0] != of:
            known = self._last[name] = of, make()
        made: T = known[1]
        return made
