"""The end of a connection, for any number of waiters: unlike a future, one that is cancelled spoils it for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any


class Ending(asyncio.Event):
    """An event that can be awaited and takes callbacks, like a future."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: list[Callable[[Ending], object]] = []

    def __await__(self) -> Generator[Any, Any, None]:
        yield from self.wait().__await__()

    def done(self) -> bool:
        """Whether the connection has ended."""
        return self.is_set()

    def add_done_callback(self, callback: Callable[[Ending], object]) -> None:
        """Call *callback* in the loop after the end, or soon if that was."""
        if self.is_set():
            asyncio.get_running_loop().call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def set(self) -> None:
        """The connection has ended."""
        super().set()
        for callback in self._callbacks:
            asyncio.get_running_loop().call_soon(callback, self)
        self._callbacks.clear()
