"""Brings a database to this program's schema: made whole when new, by Alembic when older, refused when newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

from ringfence.broker.store.schema import feed, metadata
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"  # the newest file in migrations/versions; a test compares
MIGRATIONS = Path(__file__).with_name("migrations")


def bring_up_to_date(engine: Engine) -> None:
    """Make or migrate the schema; raises INVALID for a database that a newer program wrote.

    The usual start reads one row: Alembic costs 0.3 s to import, so only an older database pays for it.
    """
    version = _version(engine)
    if version == HEAD:
        return
    if version is None:
        _create(engine)
    else:
        _upgrade(engine, version)


def _version(engine: Engine) -> str | None:
    with engine.begin() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        # A table without a row is a database before its first migration.
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or ""


def _create(engine: Engine) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(feed.insert().values(id=1, revision=0))
        # Alembic's own table, as its first run would leave it.
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _upgrade(engine: Engine, version: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = alembic_config()
    try:
        ScriptDirectory.from_config(config).get_revision(version or HEAD)
    except CommandError as error:
        raise RingfenceError(
            Kind.INVALID,
            f"the database has schema {version}, which this program does not know",
            hint="Start the version that wrote it, or a newer one",
        ) from error
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def alembic_config() -> Config:
    """Alembic's configuration for the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
