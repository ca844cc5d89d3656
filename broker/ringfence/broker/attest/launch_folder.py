"""The cgroup of one launch: made below the launcher's own, entered, emptied and removed.

Below the launcher's cgroup and not the agent's, so that the workload keeps its unit, its limits and its accounting, and
a stop of the agent's unit ends no workload. These files answer in milliseconds, not microseconds: call it in a thread.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ringfence.broker.attest import process_trees, procfs
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError

Mounts = Sequence[tuple[str, Path]]  # process_trees.unified_mounts

_PREFIX = "ringfence-launch."
_NAME = re.compile(re.escape(_PREFIX) + r".*\.(\d+)\.(\d+)")
_OTHERS_WRITE = 0o022


@dataclass(frozen=True, slots=True)
class LaunchFolder:
    """A cgroup that holds one launcher and whatever it starts."""

    path: str  # as /proc/PID/cgroup shows it to us
    directory: Path
    inode: int  # the kernel gives it to no other cgroup until the machine restarts

    def holds(self, cgroup: str) -> bool:
        """Whether *cgroup* is it or below it."""
        return f"{cgroup}/".startswith(f"{self.path}/")

    def is_there(self) -> bool:
        """Whether it was not removed, and perhaps made anew by somebody else. One stat of kernel memory."""
        try:
            return self.directory.stat().st_ino == self.inode
        except OSError:
            return False


def outside(path: str) -> str:
    """The cgroup *path* as it is without launches: its entries and rules were written without knowing of them."""
    return path.partition(f"/{_PREFIX}")[0] or "/"


def enter(launcher: Process, namespace: str, name: str, mounts: Mounts) -> LaunchFolder:
    """Move *launcher* into a folder of its own; what it starts from then on inherits it.

    Raises RingfenceError or OSError where that can't be; then nothing has changed.
    """
    # 1. Never the agent itself: what is in the folder is ended with the launch.
    if launcher.pid == os.getpid():
        raise _impossible("the launcher is the agent's own process")
    # 2. Where the launcher is, and what the folder is called: by pid and start time, so for this process only.
    leaf = f"{_PREFIX}{namespace}.{name}.{launcher.pid}.{launcher.started}"
    found = process_trees.unified_cgroup(launcher.pid)
    above, inside, _ = found.rstrip("/").partition(f"/{leaf}")
    base = _directory(above or "/", mounts)
    directory = base / leaf
    with ExitStack() as undo:
        if not inside:
            # 3. The mount point shows what its line says: the launcher is in there.
            if launcher.pid not in _listed(base):
                raise _impossible(f"{base} is not the cgroup {found}")
            # 4. It started nothing yet: its children from before would stay outside and have no identity.
            if process_trees.children(launcher.pid):
                raise _impossible("the launcher started processes before it asked")
            with suppress(FileExistsError):
                directory.mkdir(mode=0o755)
                undo.callback(_remove_empty, directory)
        # 5. A folder that was there has to be our own, or whoever made it could put processes into it.
        _check_ours(directory)
        folder = LaunchFolder(f"{above}/{leaf}", directory, directory.stat().st_ino)
        # 6. In, unless it is: then an earlier agent put it there before it had children.
        if not inside:
            _move(launcher.pid, directory)
            undo.callback(_move_back, launcher.pid, base)
        # 7. It was the launcher that moved, not one that got its pid, and it is in this folder.
        if not procfs.is_alive(launcher) or not folder.holds(process_trees.unified_cgroup(launcher.pid)):
            raise _impossible("the launcher has ended")
        undo.pop_all()
    return folder


def is_populated(folder: LaunchFolder) -> bool:
    """Whether a living process is in it or below it."""
    try:
        return folder.is_there() and b"populated 1" in (folder.directory / "cgroup.events").read_bytes()
    except OSError:
        return False


def signal_all(folder: LaunchFolder, number: signal.Signals) -> int:
    """Send a signal to each process in it; how many got it. A pid is held first, then looked at again."""
    sent = 0
    for pid in _pids(folder):
        with suppress(OSError):  # it has ended, or we may not: `kill` needs no right over the process
            pidfd = os.pidfd_open(pid)
            try:
                if folder.holds(process_trees.unified_cgroup(pid)):
                    signal.pidfd_send_signal(pidfd, number)
                    sent += 1
            finally:
                os.close(pidfd)
    return sent


def kill(folder: LaunchFolder) -> None:
    """SIGKILL to all at once, forks under way included (cgroup.kill, Linux 5.14); without it to one after another."""
    if not folder.is_there():
        return
    try:
        _write(folder.directory / "cgroup.kill", "1")
    except OSError:
        signal_all(folder, signal.SIGKILL)


def remove(folder: LaunchFolder) -> bool:
    """Remove it with what is below it, unless a process is in it; whether it is gone."""
    if folder.is_there():
        with suppress(OSError):
            for directory, _, _ in os.walk(folder.directory, topdown=False):
                os.rmdir(directory)  # noqa: PTH106  # os.walk gives strings
    return not folder.is_there()


def sweep(mounts: Mounts) -> int:
    """Remove the empty folders whose launcher lives no more: their agent was killed. How many it were."""
    swept = 0
    for _, point in mounts:
        for directory, _, _ in os.walk(point, topdown=False):
            found = _NAME.fullmatch(os.path.basename(directory))  # noqa: PTH119  # os.walk gives strings
            if found and not _lives(int(found[1]), int(found[2])):
                with suppress(OSError):  # the kernel removes none that a process is in
                    os.rmdir(directory)  # noqa: PTH106
                    swept += 1
    return swept


def _directory(cgroup: str, mounts: Mounts) -> Path:
    """Where a cgroup is mounted. One outside of our own namespace's root (`/..`) is none of ours to divide."""
    if cgroup.startswith("/") and ".." not in cgroup.split("/"):
        for root, point in mounts:
            if f"{cgroup}/".startswith(f"{root.rstrip('/')}/"):
                return point / cgroup[len(root.rstrip("/")) :].lstrip("/")
    raise _impossible(f"no cgroup v2 mount shows {cgroup}")


def _listed(directory: Path) -> frozenset[int]:
    return frozenset(map(int, (directory / "cgroup.procs").read_text().split()))


def _check_ours(directory: Path) -> None:
    for path in (directory, directory / "cgroup.procs"):
        found = path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise _impossible(f"{path} is somebody else's to write")


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _pids(folder: LaunchFolder) -> Iterator[int]:
    for directory, _, _ in os.walk(folder.directory):
        with suppress(OSError):
            yield from _listed(Path(directory))


def _move(pid: int, directory: Path) -> None:
    _write(directory / "cgroup.procs", str(pid))


def _move_back(pid: int, directory: Path) -> None:
    with suppress(OSError):
        _move(pid, directory)


def _write(path: Path, text: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never O_CREAT: what is not there is no cgroup
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _lives(pid: int, started: int) -> bool:
    try:
        return procfs.stat(pid).started == started
    except OSError:
        return False


def _impossible(why: str) -> RingfenceError:
    return RingfenceError(Kind.UNAVAILABLE, why)
