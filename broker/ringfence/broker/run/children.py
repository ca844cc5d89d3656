"""The processes that a launcher started or adopted: started, reaped, signalled and ended in one place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from ringfence.broker.run.kernel import descendants_of, die_with_parent
from ringfence.certs.errors import Kind, RingfenceError

_POLL_SECONDS = 0.02
# Shells' convention (POSIX 2.8.2): not executable, not found, and 128 + n for a process that signal n ended.
NOT_EXECUTABLE, NOT_FOUND, BY_SIGNAL = 126, 127, 128


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours; `exit` is set once, to its code in the shells' convention."""

    pid: int
    exit: asyncio.Future[int]

    def signal(self, number: int) -> None:
        """Send a signal; a child that is gone has no use for it."""
        if not self.exit.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Children:
    """Reaps whatever is a child of this process, known or adopted; only one may live in a process."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Child, subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def start(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        death_signal: signal.Signals,
        output: int | None = None,
        own_session: bool = False,
        before_exec: Callable[[], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Start a program that gets *death_signal* should this process vanish; raises what exec raises (OSError).

        *before_exec* is what the child does first, as `die_with_parent`.
        """
        process = subprocess.Popen(  # noqa: S603  # starting what the user names is what `run` is for
            list(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL if own_session else None,
            stdout=output,
            stderr=output,
            start_new_session=own_session,
            pass_fds=tuple(pass_fds),
            preexec_fn=_both(before_exec, die_with_parent(death_signal)),  # noqa: PLW1509  # one libc call, bound before the fork; see cli/run.py
        )
        child = Child(process.pid, asyncio.get_running_loop().create_future())
        self._known[child.pid] = (child, process)
        return child

    def reap(self) -> None:
        """Collect every child that has ended; adopted orphans just vanish."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._known:
                child, process = self._known.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                child.exit.set_result(_shell_code(process.returncode))

    async def end(self, child: Child, *, grace: float) -> None:
        """TERM, then KILL after *grace* seconds."""
        child.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.shield(child.exit)
        child.signal(signal.SIGKILL)
        await asyncio.shield(child.exit)

    async def end_tree(self, *, spare: frozenset[int], grace: float) -> None:
        """End every descendant but *spare*: TERM to each, KILL to what is left after *grace* seconds.

        As subreaper this process sees them all, also those that forked twice. Raises TIMEOUT if one survives KILL.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = asyncio.get_running_loop().time() + grace
            signalled: set[int] = set()
            while left := [pid for pid in descendants_of(os.getpid()) if pid not in spare]:
                for pid in left:
                    # KILL again: a process may have forked between the listing and the signal.
                    if pid not in signalled or number == signal.SIGKILL:
                        signalled.add(pid)
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, number)
                if asyncio.get_running_loop().time() >= deadline:
                    break
                await asyncio.sleep(_POLL_SECONDS)
                self.reap()
            else:
                return
        raise RingfenceError(
            Kind.TIMEOUT, "a process of the workload survived SIGKILL", hint="See `ps -o pid,stat,wchan`"
        )


def _both(first: Callable[[], None] | None, then: Callable[[], None]) -> Callable[[], None]:
    """*then* after *first*: the kernel forgets the death signal when a process changes its user (prctl(2))."""
    if first is None:
        return then

    def before_exec() -> None:
        first()
        then()

    return before_exec


def _shell_code(code: int) -> int:
    return code if code >= 0 else BY_SIGNAL - code
