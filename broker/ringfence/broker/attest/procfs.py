"""The one module that reads /proc: holds a calling process fast, and says what it is.

Reads of /proc answer from kernel memory, so they may be made in the event loop; nothing else here may block.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

_PAGE = 1 << 16
_GONE = "Call again from the process that is to have the identity"


@dataclass(frozen=True, slots=True)
class Stat:
    """Fields 4 and 22 of /proc/PID/stat: the parent, and when it started in clock ticks since boot (proc(5))."""

    parent: int
    started: int


@dataclass(frozen=True, slots=True)
class Executable:
    """The file that a process runs: what is behind /proc/PID/exe, and its change marks."""

    device: int
    inode: int
    modified_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Process:
    """A process held fast: `pidfd` is the lane's (SO_PEERPIDFD), so the pid can't come to mean another one unseen."""

    pid: int
    uid: int
    gid: int
    started: int
    pidfd: int | None
    groups: tuple[int, ...]  # supplementary
    executable: Executable | None  # None: not ours to read (another user's process, and we are not root)

    @property
    def key(self) -> tuple[int, int]:
        """Pid and start time, which no other process has until the machine restarts."""
        return self.pid, self.started

    @property
    def held_by(self) -> str:
        """How later checks know that it is still the same process."""
        return "pidfd" if self.pidfd is not None else "start-time"


def hold(pid: int | None, uid: int | None, gid: int | None, pidfd: int | None) -> Process:
    """The process behind a peer's credentials; raises DENIED when it is gone or can't be named."""
    if pid is None or uid is None or gid is None or pid <= 0:
        raise RingfenceError(Kind.DENIED, "the caller's process is not visible to this agent", hint=_GONE)
    try:
        # 1. The pid that the pidfd holds: -1 once the process is dead, 0 in a PID namespace that we can't see.
        if pidfd is not None and pid_of(pidfd) != pid:
            raise _gone(pid)
        # 2. Its start time, which with the pid names it for as long as the machine runs.
        started = stat(pid).started
        # 3. Its user and group are still those that connected.
        found, groups = credentials(pid)
        if found != (uid, gid):
            raise RingfenceError(Kind.DENIED, f"process {pid} changed its user or group since it connected", hint=_GONE)
        executable = executable_of(pid)
        # 4. Alive and the same after all the reading, so that every read was about this process.
        if not _is_same(pid, started, pidfd):
            raise _gone(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise _gone(pid) from error
    return Process(pid, uid, gid, started, pidfd, groups, executable)


def check(process: Process, *, executed: bool = False) -> None:
    """Raise DENIED unless *process* still lives, with the same user, group and executable.

    *executed*: the kernel told of an exec. The same file again is the same program: all that was attested is still so.
    """
    try:
        # 1. Alive, and no other process under a reused pid.
        if not _is_same(process.pid, process.started, process.pidfd):
            raise _gone(process.pid)
        # 2. The same user and group. /proc/PID belongs to them, or to root once the process can't be dumped: then look
        #    closer.
        ours = process.uid, process.gid
        if _owner(process.pid) != ours and credentials(process.pid)[0] != ours:
            raise RingfenceError(Kind.DENIED, f"process {process.pid} changed its user or group", hint=_GONE)
        # 3. The same executable: an exec keeps the pid, and may keep the socket. One that we can't see is another one.
        unseen = executed and process.executable is None
        if unseen or _file_of(process.pid) != _file(process.executable):
            raise RingfenceError(Kind.DENIED, f"process {process.pid} runs another program now", hint=_GONE)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise _gone(process.pid) from error


def is_alive(process: Process) -> bool:
    """Whether *process* has not ended and its pid means nobody else."""
    try:
        return _is_same(process.pid, process.started, process.pidfd)
    except (FileNotFoundError, ProcessLookupError):
        return False


def stat(pid: int) -> Stat:
    """Parent and start time; the name in field 2 may hold spaces and brackets, so count from its last bracket."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return Stat(int(fields[1]), int(fields[19]))


def pid_of(pidfd: int) -> int:
    """The pid that *pidfd* holds, -1 once it is dead (fdinfo, Linux 5.4 and newer)."""
    for line in read(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line[4:])
    return -1


def credentials(pid: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The effective user and group, which are what SO_PEERCRED told too, and the supplementary groups."""
    status = read(f"/proc/{pid}/status")
    ours = int(_field(status, b"\nUid:")[1]), int(_field(status, b"\nGid:")[1])
    return ours, tuple(map(int, _field(status, b"\nGroups:")))


def executable_of(pid: int) -> Executable | None:
    """What the process runs, or None where we may not look."""
    try:
        found = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116  # a Path costs more than the call
    except PermissionError:
        return None
    return Executable(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def path_of(process: Process) -> str:
    """Where the file that it runs stands, or empty. It may touch any file system: call it in a thread.

    Empty unless the very same file stands at that path in our own mount namespace: in a user namespace anyone can
    bind a file of theirs over any path.
    """
    ran = process.executable
    if ran is None:
        return ""
    try:
        path = Path(f"/proc/{process.pid}/exe").readlink()
        here = path.stat()
    except OSError:
        return ""
    return str(path) if (here.st_dev, here.st_ino) == (ran.device, ran.inode) else ""


def read(path: str) -> bytes:
    """All of a file of /proc, which answers from kernel memory; raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(file, _PAGE)
        while len(data) % _PAGE == 0 and (more := os.read(file, _PAGE)):
            data += more
        return data
    finally:
        os.close(file)


def _is_same(pid: int, started: int, pidfd: int | None) -> bool:
    if pidfd is not None:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)  # readable once the process has ended, a zombie included
        return not poll.poll(0)
    return stat(pid).started == started


def _file_of(pid: int) -> tuple[int, int] | None:
    """The same of what *pid* runs now; asked before every message, so no more is built than is compared."""
    try:
        found = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116  # a Path costs more than the call
    except PermissionError:
        return None
    return found.st_dev, found.st_ino


def _file(executable: Executable | None) -> tuple[int, int] | None:
    return (executable.device, executable.inode) if executable else None


def _owner(pid: int) -> tuple[int, int]:
    found = os.stat(f"/proc/{pid}")  # noqa: PTH116  # a Path costs more than the call
    return found.st_uid, found.st_gid


def _field(status: bytes, name: bytes) -> list[bytes]:
    return status.partition(name)[2].partition(b"\n")[0].split()


def _gone(pid: int) -> RingfenceError:
    return RingfenceError(Kind.DENIED, f"process {pid}, which called, is gone", hint=_GONE)
