"""Sockets that we listen on: a Unix socket that appears whole or not at all, and TCP; blocking: call in a thread."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

BACKLOG = 4_096


def bind_unix(path: Path, mode: int) -> socket.socket:
    """A listening socket at *path* with *mode*; raises OSError: EADDRINUSE while somebody listens there.

    It is made under another name and renamed, so nobody ever connects to one with a wrong mode or without a listener.
    The folder is locked meanwhile: two servers that start at once do not take each other's socket for a stale one.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _refuse_if_taken(path)
        return _bind_and_rename(path, mode)
    finally:
        os.close(folder)


def _refuse_if_taken(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something that is not a socket is there", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass  # a listener whose queue is full is a listener
    raise OSError(errno.EADDRINUSE, "another process listens there", str(path))


def _bind_and_rename(path: Path, mode: int) -> socket.socket:
    made = path.with_name(path.name + "~")
    made.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(made))
        made.chmod(mode)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        made.rename(path)
    except BaseException:
        sock.close()
        made.unlink(missing_ok=True)
        raise
    return sock


def identity(path: Path) -> tuple[int, int]:
    """What tells the file at *path* from one that another server put there later; raises OSError."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def unlink_own(path: Path, own: tuple[int, int]) -> None:
    """Remove *path* if it is still the file that we made."""
    with suppress(OSError):
        if identity(path) == own:
            path.unlink()


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening socket on the first address of *host*; port 0 takes a free one. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
