"""`ringfence server validate, migrate, backup, restore`: what is done to a server's state while it does not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.output import output_option, show_list, show_one

if TYPE_CHECKING:
    from ringfence.broker.store.location import Location

_DATA_DIR: Callable[[Any], Any] = click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    envvar="RINGFENCE_DATA_DIR",
    help="Data directory of the server.",
)
_DATABASE: Callable[[Any], Any] = click.option(
    "--database", default="", envvar="RINGFENCE_DATABASE", help="URL of a PostgreSQL.  [default: SQLite in DATA_DIR]"
)
_FILE: Callable[[Any], Any] = click.argument("file", type=click.Path(path_type=Path))


def validation_of(run: click.Command) -> click.Command:
    """The command that takes the options of *run* and only checks them."""

    @click.command()
    @output_option
    def validate(output: str, **given: Any) -> None:
        """Check the options of `server run`, its database and its intent, without starting; exit 3 if one is wrong."""
        from datetime import UTC, datetime

        from ringfence.broker.cli.failure import ANSWER_IS_NO
        from ringfence.broker.server.main import config_of
        from ringfence.broker.server.validate import validate as checks_of

        checks = checks_of(config_of(given), datetime.now(UTC))
        rows = [{"check": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        show_list("Check", rows, columns=["check", "ok", "detail"], output=output, name="check")
        if not all(check.ok for check in checks):
            raise click.exceptions.Exit(ANSWER_IS_NO)

    validate.params[:0] = [parameter for parameter in run.params if parameter.name != "config"]
    return validate


@click.command()
@_DATA_DIR
@_DATABASE
@output_option
def migrate(data_dir: Path, database: str, output: str) -> None:
    """Bring the database to this program's schema, as the next start would; the server must not run."""
    from ringfence.broker.store.migrate import HEAD
    from ringfence.broker.store.offline import migrate as bring_up_to_date

    location = _location(data_dir, database)
    with _kept(data_dir):
        before = bring_up_to_date(location)
    row = {"database": str(location), "before": before or "", "schema": HEAD, "changed": before != HEAD}
    show_one("Schema", row, output=output, name="schema")


@click.command()
@_FILE
@_DATA_DIR
@_DATABASE
@output_option
def backup(file: Path, data_dir: Path, database: str, output: str) -> None:
    """Copy the SQLite database to FILE, also while the server runs. Private keys are not in it."""
    from ringfence.broker.store.backup import backup as copy

    size = copy(_sqlite(data_dir, database, "pg_dump"), file)
    show_one("Backup", {"file": str(file), "bytes": size, "keys": False}, output=output, name="file")


@click.command()
@_FILE
@_DATA_DIR
@_DATABASE
@click.option("--new-authority", is_flag=True, help="The private keys are lost: make new ones; every agent joins anew.")
@output_option
def restore(file: Path, data_dir: Path, database: str, new_authority: bool, output: str) -> None:  # noqa: FBT001  # a click flag
    """Make the SQLite database from FILE, where there is none. Join tokens of the backup are void."""
    from ringfence.broker.files import private_folder
    from ringfence.broker.store.backup import restore as put_back

    target = _sqlite(data_dir, database, "pg_restore")
    private_folder(data_dir)
    with _kept(data_dir), _audited(data_dir, file, new_authority=new_authority):
        entries = put_back(file, target, new_authority=new_authority)
    row = {"database": str(target), "entries": entries, "newAuthority": new_authority}
    show_one("Restored", row, output=output, name="database")


def _location(data_dir: Path, database: str) -> Location:
    from ringfence.broker.config import DATABASE
    from ringfence.broker.store.location import Location

    return Location.parse(database) if database else Location.of_file(data_dir / DATABASE)


def _sqlite(data_dir: Path, database: str, tool: str) -> Path:
    from ringfence.certs.errors import Kind, RingfenceError

    location = _location(data_dir, database)
    if location.file is None:
        raise RingfenceError(
            Kind.UNIMPLEMENTED, "this is for SQLite", where=str(location), hint=f"PostgreSQL has {tool} for it"
        )
    return location.file


@contextmanager
def _audited(data_dir: Path, file: Path, *, new_authority: bool) -> Iterator[None]:
    """Record in the audit log that a restore begins, and then what came of it."""
    import os
    from dataclasses import replace
    from datetime import UTC, datetime

    from ringfence.broker.audit.chain import ACTIVE
    from ringfence.broker.audit.journal import AuditLog
    from ringfence.broker.audit.record import OK, Event

    actor = f"uid:{os.geteuid()} pid:{os.getpid()}"
    event = Event("store.restore", str(file), "begun", {"newAuthority": new_authority}, actor)
    log = AuditLog.open(data_dir / ACTIVE, clock=lambda: datetime.now(UTC))
    try:
        log.append([event])
        try:
            yield
        except BaseException as error:
            log.append([replace(event, result=f"failed: {error}")])
            raise
        log.append([replace(event, result=OK)])
    finally:
        log.close()


@contextmanager
def _kept(data_dir: Path) -> Iterator[None]:
    """Keep servers out of the folder meanwhile; raises CONFLICT while one runs."""
    from ringfence.broker.config import LOCK
    from ringfence.broker.files import private_folder
    from ringfence.broker.server.lock import DirectoryLock

    lock = DirectoryLock(private_folder(data_dir) / LOCK)
    try:
        yield
    finally:
        lock.release()
