"""Which process holds which socket, and which processes are a job's (proc(5): PID/fd, PID/comm)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ringfence.fabric.doctor.node_signs import PROXIES, PROXY_UID
from ringfence.fabric.leak.seen import Owner

Holder = tuple[Owner, str]  # whose, and NAME (PID)
NOBODY: Holder = (Owner.UNKNOWN, "")
_SOCKET = "socket:["


class Owners:
    """Remembers who was seen to hold a socket: its inode is of no use once it is closed."""

    def __init__(self, job: Callable[[], Iterable[int]]) -> None:
        self._job = job
        self._by_inode: dict[int, Holder] = {}
        self._hidden: set[int] = set()

    def of(self, inodes: Iterable[int], uids: Iterable[int]) -> dict[int, Holder]:
        """The holder of each socket that any process holds now, by inode; *uids* go with the inodes."""
        wanted = dict(zip(inodes, uids, strict=True))
        wanted.pop(0, None)
        unknown = {inode for inode in wanted if inode not in self._by_inode}
        if unknown:
            job = frozenset(self._job())
            for pid in (*sorted(job), *_all_but(job)):
                self._note(pid, unknown, wanted, ours=pid in job)
                if not unknown:
                    break
            self._by_inode |= dict.fromkeys(unknown, NOBODY)  # the kernel's own, or of a process that is hidden
        # The kernel may give the number of a closed socket to another one.
        self._by_inode = {inode: held for inode, held in self._by_inode.items() if inode in wanted}
        return dict(self._by_inode)

    def hidden(self) -> int:
        """How many processes there are that do not show what they hold; what has ended shows root nothing either."""
        return sum(not _readable(pid) for pid in self._hidden if not _has_ended(pid))

    def _note(self, pid: int, unknown: set[int], uids: dict[int, int], *, ours: bool) -> None:
        for inode in self._held_by(pid) & unknown:
            name = _name(pid)
            proxy = name in PROXIES or uids[inode] == PROXY_UID
            owner = Owner.PROXY if proxy else Owner.JOB if ours else Owner.OTHER
            self._by_inode[inode] = owner, f"{name} ({pid})"
            unknown.discard(inode)

    def _held_by(self, pid: int) -> set[int]:
        try:
            targets = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except PermissionError:
            self._hidden.add(pid)
            return set()
        except OSError:  # it has ended, or closed one meanwhile
            return set()
        return {int(target[len(_SOCKET) : -1]) for target in targets if target.startswith(_SOCKET)}


def _all_but(job: frozenset[int]) -> Iterator[int]:
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdecimal() and int(name) not in job and int(name) != os.getpid():
            yield int(name)


def _readable(pid: int) -> bool:
    return os.access(f"/proc/{pid}/fd", os.R_OK)


def _has_ended(pid: int) -> bool:
    """Whether there is nothing left of it but what its parent may wait for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state in {"Z", "X"}


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() or "?"
    except OSError:
        return "?"
