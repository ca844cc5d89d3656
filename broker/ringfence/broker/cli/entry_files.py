"""`ringfence entry apply` and `entry import`: entries from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.failure import INVALID_INPUT, explain_failure
from ringfence.broker.cli.output import output_option, show_list

if TYPE_CHECKING:
    from ringfence.admin.v1 import admin_pb2
    from ringfence.certs.errors import RingfenceError

_A_MESSAGE = 2_000  # entries, about 0.6 MB
_SHOWN = 20  # errors
_ACTIONS = ("created", "updated", "unchanged", "pruned")
_COLUMNS = ["action", "id", "spiffeId"]


@click.command()
@click.argument("file", type=click.File(encoding="utf-8"), metavar="FILE")
@with_admin
@click.option("--prune", is_flag=True, help="Delete every entry of the API that FILE does not name.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@output_option
def apply(file: IO[str], socket: Where, *, prune: bool, dry_run: bool, output: str) -> None:
    """Make entries be as FILE (- for standard input) says: all of them, or none if any has an error."""
    from ringfence.broker.cli.entry_text import read_entries

    read = read_entries(text(file), _name(file), trust_domain(socket))
    _fail_on(read.errors)
    if prune and not read.written:
        raise click.UsageError("An empty file with --prune would delete every entry: use `ringfence entry delete`")
    done = send(socket, [each.entry for each in read.written], prune=prune, dry_run=dry_run)
    show_results(done, output)


@click.command("import")
@click.option("--from-spire", "file", type=click.File(encoding="utf-8"), required=True, help="FILE, or -.")
@with_admin
@click.option("--parent", "parents", multiple=True, metavar="OLD=NEW", help="NEW agent for a SPIRE agent or alias.")
@click.option("--any-node", is_flag=True, help="Every attested node for those that --parent does not name.")
@click.option("--skip-unmapped", is_flag=True, help="Import the rest although some entries are left out.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@output_option
def import_(file: IO[str], socket: Where, *, any_node: bool, skip_unmapped: bool, **given: Any) -> None:
    """Take over the entries of a SPIRE server: the JSON of `spire-server entry show -output json`."""
    from ringfence.broker.cli.spire_dump import Parents, read_dump
    from ringfence.broker.entry import ANY_NODE

    domain = trust_domain(socket)
    named = dict(_pair(each) for each in given["parents"])
    others = f"{domain.id}{ANY_NODE}" if any_node else ""
    dump = read_dump(text(file), _name(file), domain, Parents(named, others))
    output = given["output"]
    if output in {"table", "wide"}:
        for note in dump.notes:
            click.echo(f"{note.where}: {note.level}: {note.spiffe_id or 'an entry'}: {note.message}", err=True)
    if dump.left_out and not skip_unmapped:
        click.echo(
            f"Error: {dump.left_out} of the entries cannot be imported, so none was. "
            "Give --parent OLD=NEW or --any-node for their nodes, or leave them out with --skip-unmapped",
            err=True,
        )
        if output not in {"table", "wide"}:
            _show_import([], dump.notes, output)
        raise click.exceptions.Exit(INVALID_INPUT)
    done = send(socket, [each.entry for each in dump.written], prune=False, dry_run=given["dry_run"])
    if output in {"table", "wide"}:
        show_results(done, output)
    else:
        _show_import(done, dump.notes, output)


def _pair(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old or not new:
        raise click.UsageError(f"--parent {text!r} is not OLD=NEW")
    return old, new


def _show_import(results: Sequence[Any], notes: Sequence[Any], output: str) -> None:
    """For machines: a row an entry that was imported, and a row a note."""
    rows = [{"action": r.action, "id": r.entry.id, "spiffeId": r.entry.spiffe_id, "detail": ""} for r in results]
    rows += [
        {"action": note.level, "id": "", "spiffeId": note.spiffe_id, "detail": f"{note.where}: {note.message}"}
        for note in notes
    ]
    show_list("EntryImport", rows, columns=[*_COLUMNS, "detail"], output=output, name="id")


def text(file: IO[str]) -> str:
    """What *file* holds; raises INVALID for what is no text."""
    try:
        return file.read()
    except UnicodeDecodeError as error:
        from ringfence.certs.errors import Kind, RingfenceError

        raise RingfenceError(
            Kind.INVALID, f"this is no UTF-8 text (byte {error.start})", where=_name(file), hint="Give a text file"
        ) from error


def trust_domain(socket: Where) -> Any:
    """The trust domain of the server on *socket*."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.certs.spiffe_id import TrustDomain

    return TrustDomain(ask(socket, lambda server: server.Info(pb.InfoRequest(), timeout=10)).trust_domain)


def send(socket: Where, entries: Sequence[admin_pb2.Entry], *, prune: bool, dry_run: bool) -> list[Any]:
    """What the server makes of *entries*, in one transaction."""
    from ringfence.admin.v1 import admin_pb2 as pb

    def pieces() -> Iterator[pb.ApplyEntriesRequest]:
        for start in range(0, max(len(entries), 1), _A_MESSAGE):
            piece = entries[start : start + _A_MESSAGE]
            yield pb.ApplyEntriesRequest(entries=piece, prune=prune, dry_run=dry_run)

    async def stream(server: Any) -> list[Any]:
        return [result async for answer in server.ApplyEntries(pieces(), timeout=60) for result in answer.results]

    return ask(socket, stream)


def show_results(results: Sequence[Any], output: str) -> None:
    """What became of each entry: machines get all of them, people those that changed and a count."""
    rows = [{"action": r.action, "id": r.entry.id, "spiffeId": r.entry.spiffe_id} for r in results]
    people = output in {"table", "wide"}
    changed = [row for row in rows if row["action"] != "unchanged"] if people else rows
    if changed or not people:
        show_list("EntryChange", changed, columns=_COLUMNS, output=output, name="id")
    if people:
        counts = Counter(row["action"] for row in rows)
        click.echo(", ".join(f"{counts[action]} {action}" for action in _ACTIONS), err=True)


def _name(file: IO[str]) -> str:
    return getattr(file, "name", "") or "-"


def _fail_on(errors: Sequence[RingfenceError]) -> None:
    """End with every error (the first few of many) if there is one."""
    if not errors:
        return
    for error in errors[:_SHOWN]:
        click.echo(explain_failure(error), err=True)
    if len(errors) > _SHOWN:
        click.echo(f"Error: and {len(errors) - _SHOWN} more", err=True)
    raise click.exceptions.Exit(INVALID_INPUT)
