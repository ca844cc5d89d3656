"""The two trees that a process stands in, as /proc has them: its cgroups, and its parents and children."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ringfence.broker.attest.procfs import read, stat
from ringfence.certs.errors import Kind, RingfenceError

_TRIES = 16
_OCTAL = re.compile(rb"\\([0-7]{3})")  # how mountinfo writes spaces


def cgroups(pid: int) -> dict[str, str]:
    """Controller list to path, as /proc/PID/cgroup has them: the unified hierarchy is the empty name."""
    lines = read(f"/proc/{pid}/cgroup").decode("utf-8", "replace").splitlines()
    return {names: path for _, names, path in (line.split(":", 2) for line in lines)}


def unified_cgroup(pid: int) -> str:
    """Where it is in cgroup v2, or empty. Seen from our namespace, whatever a namespace of its own shows to it."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    return ""


def unified_mounts() -> tuple[tuple[str, Path], ...]:
    """(cgroup that it shows as its root, mount point) of each cgroup v2 mount: hybrid hosts have it aside (proc(5))."""
    mounts = []
    for line in read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(b" - ")
        if after.split(b" ", 1)[0] == b"cgroup2":
            root, point = (_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), it) for it in before.split(b" ")[3:5])
            mounts.append((os.fsdecode(root), Path(os.fsdecode(point))))
    return tuple(mounts)


def children(pid: int) -> tuple[int, ...]:
    """The children of each of its threads, those not reaped yet included."""
    lists = [read(f"/proc/{pid}/task/{thread}/children") for thread in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    return tuple(int(child) for found in lists for child in found.split())


def ancestors(pid: int) -> tuple[tuple[int, int], ...]:
    """(pid, start time) of the process and of each parent up, nearest first.

    A parent is read between two reads of its child, and counts only if the child still names it: a pid that died and
    was reused in between would have sent the child to another parent.
    """
    for _ in range(_TRIES):
        if chain := _ancestors_once(pid):
            return chain
    raise RingfenceError(Kind.UNAVAILABLE, f"the parents of process {pid} change faster than they can be read")


def _ancestors_once(pid: int) -> tuple[tuple[int, int], ...]:
    chain: list[tuple[int, int]] = []
    try:
        current = stat(pid)
        while current.parent > 0:
            chain.append((pid, current.started))
            parent = stat(current.parent)
            if stat(pid) != current:
                return ()
            pid, current = current.parent, parent
    except (FileNotFoundError, ProcessLookupError):
        if not chain:
            raise
        return ()  # a parent ended while it was read: its child has another one now
    return (*chain, (pid, current.started))
