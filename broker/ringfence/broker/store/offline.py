"""What is done to a database while no server has it: look what it is, and bring its schema up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, func, select
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.pool import StaticPool

from ringfence.broker.store import migrate as schema_of
from ringfence.broker.store.connect import Hold, engine_of
from ringfence.broker.store.failure import in_words
from ringfence.broker.store.location import Location
from ringfence.broker.store.schema import authority, entries
from ringfence.certs.errors import Kind, RingfenceError


@dataclass(frozen=True, slots=True)
class Found:
    """What a database holds; `trust_domain` and `entries` are only known of one with this program's schema."""

    schema: str | None  # None: no schema yet
    trust_domain: str = ""
    entries: int | None = None


def migrate(location: Location) -> str | None:
    """Make or migrate the schema, and keep servers out meanwhile; the version it had before, None for none."""
    with words(location), disposed(engine_of(location, Hold.ALONE)) as engine:
        return schema_of.bring_up_to_date(engine)


def make_current(location: Location) -> None:
    """Have a database that several servers share brought up to date by one that has it alone.

    Raises CONFLICT while servers run whose program is an older one.
    """
    if _is_current(location):
        return
    try:
        migrate(location)
    except RingfenceError as error:
        if error.kind is not Kind.CONFLICT or not _is_current(location):
            raise


def _is_current(location: Location) -> bool:
    with words(location), disposed(engine_of(location)) as engine, engine.connect() as connection:
        return schema_of.version(connection) == schema_of.HEAD


def look(location: Location) -> Found:
    """What is there, changing nothing; raises INVALID for a database of a newer program, and what opening raises."""
    if location.file is not None and not location.file.exists():
        return Found(None)
    engine = engine_of(location) if location.file is None else read_only(location.file)
    with words(location), disposed(engine), engine.connect() as connection:
        return _found(connection)


def read_only(file: Path) -> Engine:
    """A SQLite file that is read and never made or written."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)

    return create_engine("sqlite://", creator=connect, poolclass=StaticPool)


@contextmanager
def words(location: Location) -> Iterator[None]:
    """What the database raises within, in words."""
    try:
        yield
    except (DBAPIError, DatabaseError, sqlite3.Error) as error:
        raise in_words(error, location) from error


@contextmanager
def disposed(engine: Engine) -> Iterator[Engine]:
    """*engine*, closed at the end."""
    try:
        yield engine
    finally:
        engine.dispose()


def _found(connection: Connection) -> Found:
    version = schema_of.version(connection)
    if version is None:
        return Found(None)
    if version != schema_of.HEAD:
        schema_of.known(version)
        return Found(version)
    states = connection.execute(select(authority.c.state)).scalars()
    trust_domain = next((str(state["trust_domain"]) for state in states if state), "")
    return Found(version, trust_domain, connection.execute(select(func.count()).select_from(entries)).scalar_one())
