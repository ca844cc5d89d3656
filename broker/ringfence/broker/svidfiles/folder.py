"""A folder whose files change all at once: each set in a folder of its own, and one symbolic link that is swapped.

DIR/svid.pem -> ..data/svid.pem, DIR/..data -> ..v.TIME-RANDOM: as kubelet does for secrets. Whoever resolves `..data`
once (or opens the folder) and reads from there sees one set; the set before is kept until the next swap.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ringfence.broker.files import cannot_write
from ringfence.broker.svidfiles.contents import Content
from ringfence.broker.svidfiles.wanted import Access
from ringfence.certs.errors import Kind, RingfenceError

DATA = "..data"
_VERSION = re.compile(r"\.\.v\.[0-9TZ]+-[0-9a-f]{16}")
_LINK = re.compile(r"\.\.link-[0-9a-f]{16}")


def publish(folder: Path, files: Mapping[str, Content], access: Access) -> None:
    """Make *folder* hold exactly *files*, in one step for its readers; raises UNAVAILABLE, EXHAUSTED, DENIED."""
    try:
        with _opened(folder, access) as top:
            _publish(top, files, access)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _publish(top: int, files: Mapping[str, Content], access: Access) -> None:
    version = f"..v.{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}"
    try:
        _fill(top, version, files, access)
        before = _target(top, DATA)
        _link(top, DATA, version)
    except BaseException:
        shutil.rmtree(version, ignore_errors=True, dir_fd=top)
        raise
    for name in files:
        if _target(top, name) != f"{DATA}/{name}":
            _link(top, name, f"{DATA}/{name}")
    _prune(top, keep={version, before}, files=files)
    os.fsync(top)


@contextmanager
def _opened(folder: Path, access: Access) -> Iterator[int]:
    """The folder as a descriptor that nothing can be slipped under, locked against another writer."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(folder, os.fstat(top), access)
        fcntl.flock(top, fcntl.LOCK_EX)
        yield top
    finally:
        os.close(top)


def _check(folder: Path, found: os.stat_result, access: Access) -> None:
    # 1. Its owner may swap what is in it: that is us, root, or the user that the files are for.
    if found.st_uid not in {os.geteuid(), 0, access.uid}:
        raise _not_ours(folder, f"the folder belongs to user {found.st_uid}")
    # 2. Nobody else may: who can swap the link can hand a program another key.
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise _not_ours(folder, "others may write in this folder")


def _not_ours(folder: Path, detail: str) -> RingfenceError:
    return RingfenceError(Kind.DENIED, detail, where=str(folder), hint="Name a folder of this user's or of --owner's")


def _fill(top: int, version: str, files: Mapping[str, Content], access: Access) -> None:
    os.mkdir(version, 0o700, dir_fd=top)
    # O_NOFOLLOW: in a folder of --owner's, that user could have put a link in its place.
    inside = os.open(version, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        if os.fstat(inside).st_uid != os.geteuid():
            raise RingfenceError(Kind.DENIED, "the new folder was replaced by another user's")
        for name, content in files.items():
            _write(inside, name, content, access)
        os.fchmod(inside, 0o755)  # each file has its own mode
        os.fsync(inside)
    finally:
        os.close(inside)


def _write(inside: int, name: str, content: Content, access: Access) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=inside)
    with os.fdopen(handle, "wb") as file:
        if access.uid != -1 or access.gid != -1:
            os.fchown(handle, access.uid, access.gid)
        os.fchmod(handle, content.mode)
        file.write(content.data)
        file.flush()
        os.fsync(handle)


def _link(top: int, name: str, target: str) -> None:
    """Make *name* a link to *target* in one step, whatever file it was."""
    beside = f"..link-{secrets.token_hex(8)}"
    os.symlink(target, beside, dir_fd=top)
    try:
        os.rename(beside, name, src_dir_fd=top, dst_dir_fd=top)
    except OSError:
        os.unlink(beside, dir_fd=top)
        raise


def _target(top: int, name: str) -> str:
    with suppress(OSError):
        return os.readlink(name, dir_fd=top)
    return ""


def _prune(top: int, *, keep: set[str], files: Mapping[str, Content]) -> None:
    for name in os.listdir(top):
        if _VERSION.fullmatch(name) and name not in keep:
            shutil.rmtree(name, ignore_errors=True, dir_fd=top)
        # A link of ours to what is written no more, or one that a crash left.
        elif _LINK.fullmatch(name) or (name not in files and _target(top, name) == f"{DATA}/{name}"):
            os.unlink(name, dir_fd=top)
