"""The command itself: started with its environment, sent the signals that the launcher gets, waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Self

from ringfence.broker.run.children import BY_SIGNAL, NOT_EXECUTABLE, NOT_FOUND, Child

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH})
_HARMLESS = frozenset({signal.SIGWINCH, signal.SIGUSR1, signal.SIGUSR2})


class Signals:
    """Passes signals on to the workload; before there is one, a signal ends the run.

    The first TERM is passed on when what has to come before the end is done; another one at once.
    """

    def __init__(self, runner: asyncio.Task[int]) -> None:
        self._runner = runner
        self._workload: Child | None = None
        self._before_end: Callable[[], Awaitable[None]] | None = None
        self._ending: asyncio.Task[None] | None = None
        self.ended_by = 0  # the code to end with when a signal came before the workload was there

    def __enter__(self) -> Self:
        for number in FORWARDED:
            asyncio.get_running_loop().add_signal_handler(number, self._on, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in FORWARDED:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._ending is not None:
            self._ending.cancel()

    def forward_to(self, workload: Child, before_end: Callable[[], Awaitable[None]] | None = None) -> None:
        """From now on signals are the workload's, TERM after *before_end*."""
        self._workload, self._before_end = workload, before_end

    def _on(self, number: signal.Signals) -> None:
        if self._workload is not None:
            if number is signal.SIGTERM and self._before_end is not None and self._ending is None:
                self._ending = asyncio.get_running_loop().create_task(self._end(self._workload, self._before_end))
                return
            # A key pressed in the terminal reaches the whole foreground group, the workload too: once is enough.
            if not (number in _FROM_TERMINAL and _in_foreground()):
                self._workload.signal(number)
        elif number not in _HARMLESS:
            self.ended_by = BY_SIGNAL + number
            self._runner.cancel()

    async def _end(self, workload: Child, before_end: Callable[[], Awaitable[None]]) -> None:
        try:
            await before_end()
        finally:
            workload.signal(signal.SIGTERM)


async def start_workload(program: str, start: Callable[[], Awaitable[Child]]) -> Child | int:
    """The running command, or 127 when there is no such program and 126 when it cannot be executed.

    Notes of the error (PEP 678) are told with it.
    """
    try:
        return await start()
    except FileNotFoundError as error:
        sys.stderr.write(": ".join((f"Error: {program}: not found", *getattr(error, "__notes__", ()))) + "\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"Error: {program}: {error.strerror}\n")
        return NOT_EXECUTABLE


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
