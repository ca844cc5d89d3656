"""The schema: what migrations make is what a new database gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from ringfence.broker.store import entries
from ringfence.broker.store.connect import engine_of
from ringfence.broker.store.location import Location
from ringfence.broker.store.migrate import HEAD, alembic_config, bring_up_to_date
from ringfence.broker.store.schema import metadata
from ringfence.certs.errors import Kind, RingfenceError


@pytest.fixture
def engine(location: Location) -> Iterator[Engine]:
    """On an empty database."""
    made = engine_of(location)
    yield made
    made.dispose()


def differences(engine: Engine) -> list[object]:
    """Where the database is not what the code declares."""
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_the_newest_migration_is_the_one_that_the_code_names() -> None:
    """HEAD is what a start without Alembic compares with."""
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_a_new_database_needs_no_migration(engine: Engine) -> None:
    """It is made whole, and stamped."""
    bring_up_to_date(engine)
    bring_up_to_date(engine)
    assert not differences(engine)


def test_migrations_from_nothing_make_the_declared_schema(engine: Engine) -> None:
    """A database at the first step comes out equal to a new one, its feed at 0."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    bring_up_to_date(engine)
    assert not differences(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT revision FROM feed")).scalar() == 0
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def test_entries_of_the_first_schema_are_read_after_the_upgrade(engine: Engine) -> None:
    """They expire never, federate with nobody and are no rules."""
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO entries VALUES ('i', 'k', 'spiffe://example.org/a', 'spiffe://example.org/ringfence/nodes',"
                """ '["unix:uid:1"]', 0, 0, '[]', '', 'api', 1, 1)"""
            )
        )
    bring_up_to_date(engine)
    with engine.begin() as connection:
        [entry] = entries.every(connection)
    assert (entry.expires_at, entry.federates_with, entry.admin, entry.template) == (0, (), False, "")


def test_a_database_of_a_newer_program_is_refused(engine: Engine) -> None:
    """An older program must not write what it does not understand."""
    bring_up_to_date(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RingfenceError, match="9999") as caught:
        bring_up_to_date(engine)
    assert caught.value.kind is Kind.INVALID
