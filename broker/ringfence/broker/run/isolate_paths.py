"""What of the file system an isolated command does not see: folders that hold sockets, and sockets anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ringfence.certs.errors import Kind, RingfenceError

# Where programs of a user, and of the machine, put their sockets and what they hand to each other.
USUAL = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # they are covered, not written to
_PATH_FIELD = 7  # of a line of /proc/net/unix (proc_net_unix(5)), behind the inode


def real(folders: Iterable[str]) -> tuple[str, ...]:
    """Those of *folders* that are there, without symbolic links."""
    return tuple(sorted({str(Path(folder).resolve()) for folder in folders if folder and Path(folder).is_dir()}))


def covers(folders: Iterable[str]) -> tuple[str, ...]:
    """*folders*, as `real` gives them, without those that lie below another one."""
    every = frozenset(folders)
    return tuple(sorted(path for path in every if not below(path, every - {path})))


def below(path: str, folders: Iterable[str]) -> bool:
    """Whether *path* is one of *folders* or in one of them."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def shares(folder: str, asked: Iterable[str], folders: Iterable[str]) -> tuple[str, ...]:
    """What stays visible though it lies below one of *folders*: the working *folder*, and what was *asked* for.

    Raises INVALID for what is not there, and for what holds one of *folders*: it would show what they hide.
    """
    covered, found = tuple(folders), []
    for path, what in ((folder, "the working folder"), *((path, "--share") for path in asked)):
        at = Path(path).resolve()
        if not at.exists():
            raise RingfenceError(Kind.INVALID, f"{what} {path}: there is no such file or folder")
        is_hidden = below(str(at), covered)
        # Beside all covers the working folder is seen as it is, with covers in it.
        if (is_hidden or path != folder) and any(below(cover, [str(at)]) for cover in covered):
            raise RingfenceError(
                Kind.INVALID,
                f"{what} {path} holds sockets and files of others, which --isolate hides",
                hint="Start in a folder of its own, and name folders of your own with --share",
            )
        if is_hidden:
            found.append(str(at))
    return tuple(path for path in dict.fromkeys(found) if not below(path, set(found) - {path}))


def listening(table: str) -> Iterator[str]:
    """The paths of the sockets in *table*, the text of /proc/net/unix; abstract ones have none."""
    for line in table.splitlines()[1:]:
        fields = line.split(None, _PATH_FIELD)
        if len(fields) > _PATH_FIELD and fields[_PATH_FIELD].startswith("/"):
            yield fields[_PATH_FIELD]


def suspects(table: str, covered: Iterable[str], shared: Iterable[str]) -> tuple[str, ...]:
    """The folders of those of them that no cover hides. The table has the names that they were made under."""
    covered, shared = tuple(covered), tuple(shared)
    seen = (at for at in listening(table) if not below(at, covered) or below(at, shared))
    return tuple(sorted({str(Path(at).parent) for at in seen}))
