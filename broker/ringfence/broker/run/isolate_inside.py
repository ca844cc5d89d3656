"""What stands between `run --isolate` and its command: goes behind the walls, gives up every privilege, becomes it.

Started as a program of its own: between a fork and an exec of `run`, with its threads, none of this could be done.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from ringfence.broker.run import isolate_kernel as kernel
from ringfence.broker.run.kernel import die_with_parent

READY, GO = b"ready", b"go"
_FAILED = 125
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Walls:
    """What the command is not to see, and what of it all the same. Paths are absolute and without symbolic links."""

    channel: int  # the socket over which both sides wait for each other
    parent: int
    covered: tuple[str, ...]  # folders that are empty inside, but for:
    shared: tuple[str, ...]
    made: tuple[str, ...]  # folders that programs expect to be there, if empty
    searched: tuple[str, ...]  # folders elsewhere of which the sockets are hidden
    folder: str  # to start in
    open_files: int  # the soft limit that `run` was started with

    def text(self) -> str:
        """As an argument."""
        return json.dumps(asdict(self))


def main(walls_text: str, command: list[str]) -> NoReturn:
    """Become *command* behind the walls; or say over the channel what failed, and end."""
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python's own choices are not the command's
        signal.signal(number, signal.SIG_DFL)
    told = json.loads(walls_text)
    walls = Walls(**told | {name: tuple(told[name]) for name in ("covered", "shared", "made", "searched")})
    with socket.socket(fileno=walls.channel) as channel:
        channel.set_inheritable(False)
        try:
            _go_inside(walls)
            channel.sendall(READY)
            if channel.recv(_LONGEST) == GO:
                _become(walls, command)
        except OSError as error:
            failed = {"errno": error.errno, "what": os.fsdecode(error.filename or "")}
            channel.sendall(json.dumps(failed).encode())
    sys.exit(_FAILED)


def _go_inside(walls: Walls) -> None:
    # 1. Namespaces of its own, below the one of `run`: no right there, over nothing that is outside.
    kernel.unshare_user(kernel.NEW_MOUNTS | kernel.NEW_NETWORK | kernel.NEW_IPC)
    # 2. Hold what stays visible before the folders that have it are covered.
    held = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in walls.shared]
    # 3. Cover the folders in which sockets and others' files are, and show again what was held.
    for path in walls.covered:
        kernel.cover(path)
    for path, descriptor in held:
        _show(path, descriptor)
    for path in walls.made:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    # 4. What listens elsewhere in the file system.
    for path in _sockets(walls.searched):
        kernel.bind(os.devnull, path)
    # 5. Enter the folder anew: the old one is the way around the covers.
    os.chdir(walls.folder)
    # 6. A loopback interface, and no other.
    kernel.loopback_up()


def _become(walls: Walls, command: list[str]) -> None:
    # 7. No privilege in these namespaces, and none to be had.
    kernel.drop_privileges()
    kernel.keep_signals_inside()
    # 8. Still ending with `run`: the kernel may forget that when a process changes its rights, and it may be gone.
    die_with_parent(signal.SIGTERM, parent=walls.parent)()
    resource.setrlimit(resource.RLIMIT_NOFILE, (walls.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.execvp(command[0], command)  # noqa: S606  # starting what the user names is what `run` is for


def _show(path: str, descriptor: int) -> None:
    """Bind what *descriptor* holds over *path*, which is made first."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(path).touch(mode=0o600)
    kernel.bind(f"/proc/self/fd/{descriptor}", path)
    os.close(descriptor)


def _sockets(folders: Sequence[str]) -> Iterator[str]:
    """Every socket in *folders* that this user can find, whatever its name was when it was made."""
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as found:
            yield from (entry.path for entry in found if _is_socket(entry))


def _is_socket(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False  # it is gone, and only it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
