"""A SQLite database copied while a server writes it, and put back so that nothing which must not repeat does."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, delete, update

from ringfence.broker.store import migrate
from ringfence.broker.store.connect import engine_of
from ringfence.broker.store.location import Location
from ringfence.broker.store.offline import disposed, look, read_only, words
from ringfence.broker.store.schema import authority, changes, feed, tokens
from ringfence.certs.errors import Kind, RingfenceError

# Far more than a server gives out between a backup and its loss: revisions and sequences that agents, proxies and
# federation partners have seen must not come back with another meaning.
LEAP = 1_000_000
_BESIDE = ("", "-wal", "-shm", "-journal")


def backup(database: Path, file: Path) -> int:
    """Copy *database* to the new *file*, 0600, one moment of it, also while a server writes; its size in bytes.

    Private keys are not in it. Raises NOT_FOUND, CONFLICT for a *file* that exists, and what the disk raises.
    """
    _must_exist(database, "there is no database here", "Name the --data-dir of a server")
    with _new_file(file) as temporary:
        _copy(database, temporary)
    return file.stat().st_size


def restore(file: Path, database: Path, *, new_authority: bool = False) -> int:
    """Make *database*, which is not there, from the backup *file*; how many entries it has.

    With *new_authority* the one that was backed up is forgotten, for a server whose private keys are lost.
    """
    # 1. Never over a database, nor beside what is left of one: SQLite would play a stray log into it.
    for end in _BESIDE:
        if (stray := database.with_name(database.name + end)).exists():
            raise RingfenceError(
                Kind.CONFLICT,
                "there is a database already",
                where=str(stray),
                hint=f"Move {database}, and the -wal and -shm beside it, away first",
            )
    # 2. What is put back is whole, is a database of ours, and of a schema that is known.
    _must_exist(file, "there is no such backup", "Name a file that `ringfence server backup` wrote")
    if look(Location.of_file(file)).schema is None:
        raise RingfenceError(Kind.INVALID, "this is no backup of a Ringfence server", where=str(file))
    with _new_file(database) as temporary:
        _copy(file, temporary)
        location = Location.of_file(temporary)
        with words(Location.of_file(file)), disposed(engine_of(location)) as engine:
            migrate.bring_up_to_date(engine)
            # 3. What must not repeat, does not.
            with engine.begin() as connection:
                _move_on(connection, new_authority=new_authority)
        _settle(temporary)
    return look(Location.of_file(database)).entries or 0


def _move_on(connection: Connection, *, new_authority: bool) -> None:
    # 1. A token that was used after the backup would be good once more.
    connection.execute(delete(tokens))
    # 2. Followers that were ahead of the backup load everything again.
    connection.execute(delete(changes))
    connection.execute(update(feed).values(revision=feed.c.revision + LEAP, registry=feed.c.revision + LEAP))
    # 3. A bundle's sequence never goes back (SPIFFE Trust Domain and Bundle, 4.1.1).
    connection.execute(update(authority).values(sequence=authority.c.sequence + LEAP))
    if new_authority:
        connection.execute(update(authority).values(state={}))


def _must_exist(path: Path, what: str, hint: str) -> None:
    if not path.is_file():
        raise RingfenceError(Kind.NOT_FOUND, what, where=str(path), hint=hint)


def _copy(source: Path, target: Path) -> None:
    with (
        words(Location.of_file(source)),
        disposed(read_only(source)) as engine,
        closing(engine.raw_connection()) as found,
        closing(sqlite3.connect(target)) as copy,
    ):
        connection = found.driver_connection
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # for the type checker
        connection.backup(copy)
        if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise RingfenceError(Kind.INVALID, "the database is damaged", where=str(source), hint="Use another backup")
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it


def _settle(file: Path) -> None:
    """Bring into *file* itself what the log beside it holds."""
    with words(Location.of_file(file)), closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A private file beside *path* that takes its name at the end, synced, unless something has that name."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _refused(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        os.fsync(handle)
        os.link(temporary, path)  # fails where rename would replace
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        os.close(handle)
        for end in _BESIDE:
            temporary.with_name(temporary.name + end).unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> RingfenceError:
    if isinstance(error, FileExistsError):
        return RingfenceError(Kind.CONFLICT, "is there already", where=str(path), hint="Name a new file")
    return RingfenceError(
        Kind.UNAVAILABLE, f"cannot be written: {error.strerror}", where=str(path), hint="Check the folder and its owner"
    )
