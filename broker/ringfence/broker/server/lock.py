"""One server a data directory: a lock that the kernel gives back when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError


class DirectoryLock:
    """Held from construction to `release`; raises CONFLICT while another process holds it."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RingfenceError(
                Kind.UNAVAILABLE, f"cannot be opened: {error.strerror}", where=str(path), hint="Check its owner"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._handle, 32, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise RingfenceError(
                Kind.CONFLICT,
                f"another server (pid {holder}) uses this folder",
                where=str(path.parent),
                hint="Stop it, or give this one another --data-dir",
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another server have the folder."""
        os.close(self._handle)
