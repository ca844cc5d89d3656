"""The end of a peer's process, which may come before that of its connection: somebody else may hold the socket too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class PeerProcess:
    """The process that *pidfd* refers to, if there is one."""

    __slots__ = ("_pidfd", "_watched")

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = pidfd
        self._watched = False

    def when_it_ends(self, react: Callable[[], None]) -> None:
        """Call *react* then; whoever asks first is called."""
        if self._pidfd is not None and not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_end, react)

    def _on_end(self, react: Callable[[], None]) -> None:
        self.forget()
        react()

    def forget(self) -> None:
        """Nobody is called any more."""
        if self._watched and self._pidfd is not None:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._pidfd)
