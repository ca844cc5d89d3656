"""Brings a database to this program's schema: made whole when new, by Alembic when older, refused when newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from ringfence.broker.store.schema import feed, metadata
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"  # the newest file in migrations/versions; a test compares
MIGRATIONS = Path(__file__).with_name("migrations")


def bring_up_to_date(engine: Engine) -> str | None:
    """Make or migrate the schema; the version it had, None for a new database.

    Raises INVALID for a database that a newer program wrote. The usual start reads one row: Alembic costs 0.3 s to
    import, so only an older database pays for it. One transaction, so of two that start at once one does it.
    """
    with engine.begin() as connection:
        before = version(connection)
        if before is None:
            _create(connection)
        elif before != HEAD:
            _upgrade(connection, before)
        return before


def version(connection: Connection) -> str | None:
    """The schema that the database has: None for a new one, empty for one before its first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or ""


def known(found: str) -> None:
    """Raise INVALID when this program does not know the schema *found*."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory.from_config(alembic_config()).get_revision(found or HEAD)
    except CommandError as error:
        raise RingfenceError(
            Kind.INVALID,
            f"the database has schema {found}, which this program does not know",
            hint="Start the version that wrote it, or a newer one",
        ) from error


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(feed.insert().values(id=1, revision=0))
    # Alembic's own table, as its first run would leave it.
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _upgrade(connection: Connection, before: str) -> None:
    from alembic import command

    known(before)
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Alembic's configuration for the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
