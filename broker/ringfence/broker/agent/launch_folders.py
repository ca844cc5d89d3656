"""The cgroups of launches as the agent keeps them: made at the launch, emptied and removed when the launcher has ended.

A folder lives as long as its launcher, not as long as the stream: an agent that restarts, or an intent that takes a
launch rule away, ends no process. Identity ends with the stream all the same (attest/launch.py).
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ringfence.broker.agent import events
from ringfence.broker.attest import launch_folder, process_trees, procfs
from ringfence.broker.attest.launch_folder import LaunchFolder, Mounts
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import RingfenceError

_GRACE = 2.0  # seconds between TERM and KILL for what a launcher left running, as `run` gives itself
_PATIENCE = 2.0  # seconds for the kernel to end what it was told to kill
_POLL = 0.02  # seconds


class LaunchFolders:
    """One for the agent. `close` leaves the folders of living launchers to the next agent."""

    def __init__(self, mounts: Callable[[], Mounts] = process_trees.unified_mounts, *, grace: float = _GRACE) -> None:
        self._mounts = mounts
        self._grace = grace
        self._watched: dict[LaunchFolder, int] = {}  # with a pidfd of its launcher
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = False

    async def enter(self, launcher: Process, namespace: str, name: str) -> tuple[LaunchFolder | None, str]:
        """The folder that *launcher* is in from now on, else None and why not. Never half done when cancelled."""
        try:
            held = replace(launcher, pidfd=_own_pidfd(launcher))
        except OSError as error:
            return None, str(error)
        entering = asyncio.create_task(self._enter(held, namespace, name))
        self._keep(entering)
        return await asyncio.shield(entering)

    def sweep(self) -> None:
        """Remove what killed agents left behind."""
        launch_folder.sweep(self._mounts())

    async def close(self) -> None:
        """Stop watching; launchers that have ended are seen to first, without grace."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)
        for pidfd in self._watched.values():
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        self._watched.clear()

    async def _enter(self, launcher: Process, namespace: str, name: str) -> tuple[LaunchFolder | None, str]:
        assert launcher.pidfd is not None  # noqa: S101  # enter gave it one
        try:
            folder = await asyncio.to_thread(launch_folder.enter, launcher, namespace, name, self._mounts())
        except (OSError, RingfenceError) as error:
            os.close(launcher.pidfd)
            return None, str(error)
        if folder in self._watched:  # it vouches again
            os.close(launcher.pidfd)
        else:
            self._watched[folder] = launcher.pidfd
            asyncio.get_running_loop().add_reader(launcher.pidfd, self._ended, folder)
        return folder, ""

    def _ended(self, folder: LaunchFolder) -> None:
        pidfd = self._watched.pop(folder)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._keep(asyncio.create_task(self._clear(folder)))

    async def _clear(self, folder: LaunchFolder) -> None:
        """End what is left in *folder*, whose launcher has ended, so that none of it has an identity any more."""
        # 1. Ask: a job that gets TERM may still write its checkpoint.
        asked = await asyncio.to_thread(launch_folder.signal_all, folder, signal.SIGTERM)
        await self._until_empty(folder, self._grace)
        # 2. Whatever did not listen, or was started meanwhile.
        if await asyncio.to_thread(launch_folder.is_populated, folder):
            await asyncio.to_thread(launch_folder.kill, folder)
            await self._until_empty(folder, _PATIENCE, hurried=False)
        # 3. The folder itself, which only an empty one can be.
        gone = await asyncio.to_thread(launch_folder.remove, folder)
        if asked or not gone:
            events.launch_cleared(folder.path, asked, gone)

    async def _until_empty(self, folder: LaunchFolder, seconds: float, *, hurried: bool = True) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await asyncio.to_thread(launch_folder.is_populated, folder):  # told by POLLPRI only, so asked
                    if hurried and self._closing:
                        return
                    await asyncio.sleep(_POLL)

    def _keep(self, task: asyncio.Task[object]) -> None:  # the loop holds tasks weakly
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _own_pidfd(launcher: Process) -> int:
    """A pidfd that outlives the connection; raises OSError when the launcher has ended."""
    if launcher.pidfd is not None:
        return os.dup(launcher.pidfd)
    pidfd = os.pidfd_open(launcher.pid)
    if not procfs.is_alive(launcher):  # by its start time: the pid that was opened may be another's
        os.close(pidfd)
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return pidfd
