"""`ringfence audit`: read and check the audit log, from its files: no server has to run."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from ringfence.broker.cli.output import list_options, output_option, show_list, show_one
from ringfence.certs.errors import Kind, RingfenceError

_COLUMNS = ["seq", "time", "actor", "action", "subject", "result"]
_LOOK_SECONDS = 0.2  # between two looks at a file that is followed
_DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(readable=False, path_type=Path),
    envvar="RINGFENCE_DATA_DIR",
    help="Data directory of the server.",
)
_FILE = click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def command() -> None:
    """Show, follow and verify the audit log."""


def _filters(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    found = click.option("--action", default="", help="Only these actions; `entry.` is every action on entries.")(
        wrapped
    )
    found = click.option("--actor", default="", help="Only what this one did.")(found)
    return click.option("--subject", default="", help="Only what was done to this.")(found)


@command.command()
@_FILE
@_DATA_DIR
@click.option("--anchor", default="", help="SEQ:HASH noted earlier, which the chain must still hold.")
@output_option
def verify(file: Path | None, data_dir: Path | None, anchor: str, output: str) -> None:
    """Check that no record was changed, added or taken away; names the first broken one and ends with 4."""
    from ringfence.broker.audit.chain import verify as check

    files = _files(file, data_dir)
    checked = check(files)
    if anchor:
        _check_anchor(files, anchor)
    row = {
        "ok": True,
        "records": checked.records,
        "first": checked.first,
        "last": checked.last,
        "head": checked.head,
        "bytesOfUnfinishedRecord": checked.torn,
        "files": [str(path) for path in files],
    }
    show_one("AuditVerification", row, output=output, name="head")


@command.command()
@_FILE
@_DATA_DIR
@_filters
@click.option("--last", type=click.IntRange(min=0), default=0, help="Only so many, the newest ones.  [default: all]")
@list_options
def show(file: Path | None, data_dir: Path | None, last: int, output: str, **wanted: str) -> None:
    """Show records, oldest first."""
    rows = [row for path in _files(file, data_dir) for row in _rows(path) if _matches(row, wanted)]
    show_list("AuditRecord", rows[-last:] if last else rows, columns=_COLUMNS, output=output, name="seq")


@command.command()
@_DATA_DIR
@_filters
@click.option("--last", type=click.IntRange(min=0), default=10, show_default=True, help="How many kept ones first.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for those to come.")
@output_option
def tail(data_dir: Path | None, last: int, follow: bool, output: str, **wanted: str) -> None:  # noqa: FBT001  # a click flag
    """Follow the log, one record a line (`-o json` as JSON)."""
    files = _files(None, data_dir)
    seen = 0
    kept: deque[dict[str, Any]] = deque(maxlen=last)
    for row in (row for path in files for row in _rows(path)):
        seen = row["seq"]
        if _matches(row, wanted):
            kept.append(row)
    for row in kept:
        _print(row, output)
    for row in _coming(files[-1], seen) if follow else ():
        if _matches(row, wanted):
            _print(row, output)


def _files(file: Path | None, data_dir: Path | None) -> list[Path]:
    from ringfence.broker.audit.chain import ACTIVE, files_of

    if file is not None:
        return [file]
    if data_dir is None:
        raise click.UsageError("No log is named: give a FILE or --data-dir, or set RINGFENCE_DATA_DIR")
    if files := files_of(data_dir / ACTIVE):
        return files
    raise RingfenceError(
        Kind.NOT_FOUND, "no audit log is here", where=str(data_dir / ACTIVE), hint="Give the server's own --data-dir"
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield _row(path, number, line)


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    from ringfence.broker.audit.record import parse

    try:
        record = parse(line)
    except ValueError as error:
        hint = "Run `ringfence audit verify`"
        raise RingfenceError(Kind.INVALID, f"a broken record: {error}", where=f"{path}:{number}", hint=hint) from None
    order = ("seq", "time", "actor", "action", "subject", "result", "detail", "prev", "hash")
    return {name: getattr(record, name) for name in order}


def _matches(row: dict[str, Any], wanted: dict[str, str]) -> bool:
    action = wanted["action"]
    return (
        (not action or row["action"] == action or (action.endswith(".") and row["action"].startswith(action)))
        and wanted["actor"] in {"", row["actor"]}
        and wanted["subject"] in {"", row["subject"]}
    )


def _print(row: dict[str, Any], output: str) -> None:
    if output in {"json", "jsonl"}:
        show_one("AuditRecord", row, output="jsonl", name="seq")
    elif output == "name":
        click.echo(row["seq"])
    else:
        click.echo("  ".join(str(row[column]) for column in _COLUMNS))


def _coming(active: Path, seen: int) -> Iterator[dict[str, Any]]:
    """Records after *seen* as they are appended, also over rotations."""
    while True:
        with active.open("rb") as file:
            for row in _appended(active, file):
                # Rotated away between two looks: what is missing stands in the files before.
                if row["seq"] > seen + 1:
                    yield from _between(active, seen, row["seq"])
                if row["seq"] > seen:
                    seen = row["seq"]
                    yield row


def _appended(active: Path, file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The records of *file*, waiting for more until it is no longer *active* and read to its end."""
    rest, number, last_look = b"", 0, False
    while True:
        while line := file.readline():
            rest += line
            if rest.endswith(b"\n"):
                number += 1
                yield _row(active, number, rest)
                rest = b""
        if last_look:
            return
        last_look = _replaced(active, file)
        if not last_look:
            time.sleep(_LOOK_SECONDS)


def _between(active: Path, seen: int, until: int) -> Iterator[dict[str, Any]]:
    from ringfence.broker.audit.chain import files_of

    for path in files_of(active)[:-1]:
        yield from (row for row in _rows(path) if seen < row["seq"] < until)


def _replaced(active: Path, file: IO[bytes]) -> bool:
    return active.exists() and active.stat().st_ino != os.fstat(file.fileno()).st_ino


def _check_anchor(files: list[Path], anchor: str) -> None:
    seq, colon, digest = anchor.partition(":")
    if not colon or not seq.isdecimal():
        raise click.BadParameter("write SEQ:HASH, as `audit verify` printed last and head", param_hint="--anchor")
    for path in files:
        for row in _rows(path):
            if row["seq"] == int(seq) and row["hash"] == digest:
                return
    raise RingfenceError(
        Kind.INVALID,
        f"the chain holds together, but record {seq} is not the one that was noted",
        hint="The log was cut short or written anew since the anchor was taken",
    )
