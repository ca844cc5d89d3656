"""The unix attestor: who runs the process, and what it runs."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import os
import pwd
from collections import OrderedDict
from contextlib import suppress

from ringfence.broker.attest import procfs
from ringfence.broker.attest.procfs import Executable, Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector

_KIND = "unix"
_HASHES_KEPT = 1024
_CHUNK = 1 << 20


class UnixAttestor:
    """uid, gid and supplementary groups always; names, path and sha256 only when an entry asks for them.

    Names go through NSS, which may ask a network, and hashing reads a whole file: both in a thread.
    """

    name = _KIND
    facts: frozenset[str] = frozenset()  # asked always: uid and gid cost nothing

    def __init__(self) -> None:
        self._hashes: OrderedDict[tuple[int, int, int, int], str] = OrderedDict()

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        """The unix selectors of *process*."""
        gids = process.groups
        facts = {f"uid:{process.uid}", f"gid:{process.gid}", *(f"supplementary_gid:{gid}" for gid in gids)}
        if wanted & {"unix:user", "unix:group", "unix:supplementary_group"}:
            facts |= await asyncio.to_thread(_names, process.uid, process.gid, gids)
        if "unix:path" in wanted and (path := await asyncio.to_thread(procfs.path_of, process)):
            facts.add(f"path:{path}")
        if process.executable and "unix:sha256" in wanted:
            facts.add(f"sha256:{await self._hash(process, process.executable)}")
        return frozenset(Selector(_KIND, fact) for fact in facts)

    async def _hash(self, process: Process, executable: Executable) -> str:
        key = (executable.device, executable.inode, executable.modified_ns, executable.size)
        if key not in self._hashes:
            self._hashes[key] = await asyncio.to_thread(_sha256, process.pid, key)
            while len(self._hashes) > _HASHES_KEPT:
                self._hashes.popitem(last=False)
        return self._hashes[key]


def _sha256(pid: int, expected: tuple[int, int, int, int]) -> str:
    """The digest of what *pid* runs, through /proc/PID/exe so that no path can be swapped under us."""
    with open(f"/proc/{pid}/exe", "rb") as file:  # noqa: PTH123  # a magic link, not a path
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size) != expected:
            raise RingfenceError(Kind.DENIED, f"process {pid} runs another program now")
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _names(uid: int, gid: int, gids: tuple[int, ...]) -> set[str]:
    facts: set[str] = set()
    with suppress(KeyError):  # a user without a name has no such selector
        facts.add(f"user:{pwd.getpwuid(uid).pw_name}")
    for name, number in (("group", gid), *(("supplementary_group", each) for each in gids)):
        with suppress(KeyError):
            facts.add(f"{name}:{grp.getgrgid(number).gr_name}")
    return facts
