"""The private folder of one run: 0700, gone when the run ends, and swept by the next one if it could not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from ringfence.certs.errors import Kind, RingfenceError

_PREFIX = "ringfence-run-"
_LOCK = "lock"
_ADMIN = "admin.sock"
_BOOTSTRAP = "envoy.json"  # as the launcher writes it
# sun_path holds 108 bytes with its NUL (unix(7)); the longest name below is PostgreSQL's socket.
_LONGEST_SOCKET = 107 - len("/served/.s.PGSQL.65535")


class RunFolder:
    """A folder that exists while the `with` block does; `lock` in it is held for as long as its owner lives."""

    def __init__(self, base: Path | None = None) -> None:
        self._base = base or _base()
        self._lock = -1
        self.path = Path()

    def __enter__(self) -> Self:
        try:
            sweep(self._base)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._base))
        except OSError as error:
            raise RingfenceError(
                Kind.UNAVAILABLE,
                f"cannot make a private folder: {error.strerror}",
                where=str(self._base),
                hint="Set XDG_RUNTIME_DIR to a folder that you may write to",
            ) from None
        self._hold()
        self.sockets.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    @property
    def sockets(self) -> Path:
        """Where the workload puts the Unix sockets that it serves."""
        return self.path / "served"

    @property
    def admin(self) -> Path:
        """The proxy's admin socket."""
        return self.path / _ADMIN

    def write(self, name: str, text: str) -> Path:
        """A new file that only its owner may read."""
        path = self.path / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _hold(self) -> None:
        if len(os.fsencode(self.path)) > _LONGEST_SOCKET:
            shutil.rmtree(self.path)
            raise RingfenceError(
                Kind.INVALID,
                "the private folder's path is too long for Unix sockets in it",
                where=str(self.path),
                hint="Set XDG_RUNTIME_DIR to a shorter one",
            )
        # Locked under another name first: a `lock` that nobody holds always means a dead owner.
        fresh = self.path / "lock.new"
        self._lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self.path / _LOCK)


def admin_of(node: str, base: Path | None = None) -> Path | None:
    """The admin socket of the proxy *node*, if a run of this user on this host has it."""
    for path in (base or _base()).glob(f"{_PREFIX}*"):
        try:
            is_ours = path.lstat().st_uid == os.geteuid()
            said = json.loads((path / _BOOTSTRAP).read_text(encoding="utf-8")) if is_ours else {}
        except (OSError, ValueError):
            continue  # another run may begin, or end, at the same time
        if said.get("node", {}).get("id") == node:
            return path / _ADMIN
    return None


def _base() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def sweep(base: Path) -> None:
    """Remove the folders of runs of this user that were killed."""
    for path in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another run may sweep, or end, at the same time
            if path.lstat().st_uid == os.geteuid() and _is_abandoned(path / _LOCK):
                shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
