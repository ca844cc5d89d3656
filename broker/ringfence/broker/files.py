"""Files that are whole or not there: written beside, synced, then renamed."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Make *path* hold exactly *data*; raises UNAVAILABLE or EXHAUSTED in words."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def private_folder(path: Path) -> Path:
    """*path* as a folder that only its owner may enter; raises UNAVAILABLE for one that cannot be made or written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_mode & 0o077:
            _close_to_others(path, found)
    except OSError as error:
        raise cannot_write(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise RingfenceError(Kind.UNAVAILABLE, "the folder may not be written", where=str(path), hint="Check its owner")
    return path


def _close_to_others(path: Path, found: os.stat_result) -> None:
    # A folder that others share by intent (/tmp) is not ours to lock.
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
        raise RingfenceError(
            Kind.UNAVAILABLE, "others may use this folder", where=str(path), hint="Name one of this user's own"
        )
    path.chmod(0o700)


def cannot_write(path: Path, error: OSError) -> RingfenceError:
    """*error* in words: a full disk is EXHAUSTED, anything else UNAVAILABLE."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    kind = Kind.EXHAUSTED if full else Kind.UNAVAILABLE
    hint = "Free some space" if full else "Check the folder and its owner"
    return RingfenceError(kind, f"cannot be written: {error.strerror}", where=str(path), hint=hint)
