"""Real cgroups for tests, and small processes to put into them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ringfence.broker.attest import process_trees, procfs
from tests.parts import missing

# Prints a word, then does what its lines of stdin tell: end, or start a child that is deaf to TERM and leaves the tree.
DOER = """
import os, signal, sys
print("up", flush=True)
for line in sys.stdin:
    if line == "orphan\\n":
        if (first := os.fork()) == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(os.getpid(), flush=True)
            os.close(0)
            while True: signal.pause()
        os.waitpid(first, 0)
    if line == "child\\n":
        if (child := os.fork()) == 0:
            while True: signal.pause()
        print(child, flush=True)
"""
NOWHERE = (("/", Path("/proc")),)  # as if cgroup v2 were mounted where nobody can make a folder, root neither


def unified() -> Path:
    """The folder of our own cgroup v2, in which this user can make others; else skip."""
    own = process_trees.unified_cgroup(os.getpid())
    for root, point in process_trees.unified_mounts():
        with suppress(OSError, ValueError):
            folder = point / Path(own).relative_to(root)
            probe = folder / f"ringfence-probe.{os.getpid()}"
            probe.mkdir()
            probe.rmdir()
            return folder
    return missing("a cgroup v2 to divide", "run the tests as root where /proc/self/mountinfo has a cgroup2")


class Doer:
    """A child that does what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._started: list[int] = []  # pidfds: a pid may be another's by the end
        self.pid = process.pid

    @property
    def held(self) -> procfs.Process:
        """As the agent holds it, by start time."""
        return procfs.hold(self.pid, os.geteuid(), os.getegid(), None)

    def start(self, what: str) -> int:
        """Start a `child` or an `orphan`; its pid."""
        self._say(what)
        pid = int(self._line())
        with suppress(ProcessLookupError):  # an agent may have ended it by now
            self._started.append(os.pidfd_open(pid))
        return pid

    def up(self) -> None:
        """Wait until it runs."""
        assert self._line() == "up\n"

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        print(text, file=self._process.stdin, flush=True)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def end(self) -> None:
        """SIGKILL, and reap it."""
        self._process.kill()
        self._process.wait()

    def clear(self) -> None:
        """End it, and what it started."""
        self.end()
        for pidfd in self._started:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            gone(pidfd)
            os.close(pidfd)


@contextmanager
def doer() -> Iterator[Doer]:
    """One for the length of the block."""
    command = [sys.executable, "-S", "-c", DOER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        found = Doer(process)
        found.up()
        try:
            yield found
        finally:
            found.clear()


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """A cgroup of the test's own below ours; what is left in it is ended."""
    folder = unified() / f"{name}.{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        clear(folder)


def _make(folder: Path) -> None:
    while True:
        try:
            folder.mkdir(parents=True)
        except FileNotFoundError:  # another test took the parents away between two steps
            continue
        return


@contextmanager
def container_cgroup(uid: str, container_id: str) -> Iterator[Path]:
    """The cgroup of a container in a pod, where a kubelet with the cgroupfs driver makes it; else skip."""
    point = next((point for root, point in process_trees.unified_mounts() if root == "/"), None)
    if point is None or not os.access(point, os.W_OK):
        missing("the root of cgroup v2", "run the tests as root, with the host's cgroups")
    pod = point / "kubepods" / "burstable" / f"pod{uid}"
    folder = pod / container_id
    _make(folder)
    try:
        yield folder
    finally:
        clear(pod)
        with suppress(OSError):  # another test's pod is in it
            pod.parent.rmdir()
            pod.parent.parent.rmdir()


def clear(folder: Path) -> None:
    """End and remove."""
    if folder.exists():
        pids = [pid for found in folder.rglob("cgroup.procs") for pid in found.read_text().split()]
        pids += (folder / "cgroup.procs").read_text().split()
        pidfds = [os.pidfd_open(int(pid)) for pid in pids]
        (folder / "cgroup.kill").write_text("1")
        for pidfd in pidfds:
            gone(pidfd)
            os.close(pidfd)
        for directory, _, _ in os.walk(folder, topdown=False):
            Path(directory).rmdir()


def move(pid: int, folder: Path) -> None:
    """What root may do to any process."""
    (folder / "cgroup.procs").write_text(str(pid))


def entering(folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it is in *folder* from its start."""
    return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(folder / "cgroup.procs"))


def gone(pidfd: int, seconds: float = 10) -> bool:
    """Whether the process ends within that time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
