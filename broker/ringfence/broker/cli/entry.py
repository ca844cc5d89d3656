"""`ringfence entry`: registration entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.entry_explain import explain
from ringfence.broker.cli.entry_fields import COLUMNS, given, row, with_fields
from ringfence.broker.cli.entry_files import apply, import_, text
from ringfence.broker.cli.output import output_option, show_list, show_one
from ringfence.broker.cli.times import MOMENT


@click.group()
def command() -> None:
    """Create, change, list and delete registration entries."""


@command.command()
@with_admin
@click.option("--spiffe-id", required=True, help="Identity to give, or a rule: spiffe://DOMAIN/ns/{k8s.ns}.")
@with_fields
@dry_run_option
@output_option
def create(socket: Where, *, dry_run: bool, output: str, **fields: Any) -> None:
    """Register an identity; registering the same again changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    if not fields["selectors"] and "{" not in fields["spiffe_id"]:
        raise click.UsageError("Missing option '--selector': whom is it for?")
    entry = pb.Entry(**given(fields))
    request = pb.CreateEntriesRequest(entries=[entry], dry_run=dry_run)
    done = ask(socket, lambda server: server.CreateEntries(request, timeout=10))
    result = done.results[0]
    show_one("Entry", {**row(result.entry), "action": result.action}, output=output, name="id")


@command.command()
@click.argument("entry_id")
@with_admin
@click.option("--spiffe-id", help="Another identity.")
@with_fields
@click.option("--clear", type=click.Choice(("dns_names", "federates_with")), multiple=True, help="Empty that list.")
@dry_run_option
@output_option
def update(socket: Where, entry_id: str, clear: tuple[str, ...], *, dry_run: bool, output: str, **fields: Any) -> None:
    """Change what is given of an entry, and keep the rest; of a list all of it is given."""
    from ringfence.admin.v1 import admin_pb2 as pb

    async def change(server: Any) -> Any:
        found = await server.ListEntries(pb.ListEntriesRequest(ids=[entry_id]), timeout=10)
        entry = found.entries[0]
        for name, value in {**dict.fromkeys(clear, ()), **given(fields)}.items():
            entry.ClearField(name)
            entry.MergeFrom(pb.Entry(**{name: value}))
        return await server.UpdateEntries(pb.UpdateEntriesRequest(entries=[entry], dry_run=dry_run), timeout=10)

    result = ask(socket, change).results[0]
    show_one("Entry", {**row(result.entry), "action": result.action}, output=output, name="id")


def _with_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


_FILTERS = (
    click.option("--spiffe-id", help="Only those of this identity."),
    click.option("--parent-id", help="Only those of this agent."),
    click.option("--selector", "selectors", multiple=True, help="Only those that ask for it, among others."),
    click.option("--origin", help="Only those of the API (`api`), or of that document (NAMESPACE/NAME)."),
    click.option("--hint", help="Only those with this hint."),
    click.option("--federates-with", help="Only those that federate with this trust domain."),
    click.option("--expires-before", type=MOMENT, help="Only those that end before: a time, or 8h from now."),
)


@command.command("list")
@with_admin
@_with_filters
@output_option
def list_(socket: Where, output: str, **filters: Any) -> None:
    """List entries, those compiled from intent included."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.ListEntriesRequest(**given(filters))
    found = ask(socket, lambda server: server.ListEntries(asked, timeout=30))
    show_list("Entry", [row(entry) for entry in found.entries], columns=COLUMNS, output=output, name="id")


@command.command()
@with_admin
@_with_filters
@output_option
def count(socket: Where, output: str, **filters: Any) -> None:
    """Count entries, those compiled from intent included."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.ListEntriesRequest(**given(filters))
    found = ask(socket, lambda server: server.CountEntries(asked, timeout=30))
    show_one("EntryCount", {"count": found.count}, output=output, name="count")


@command.command()
@click.argument("entry_id")
@with_admin
@output_option
def show(socket: Where, entry_id: str, output: str) -> None:
    """Show one entry."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListEntries(pb.ListEntriesRequest(ids=[entry_id]), timeout=10))
    show_one("Entry", row(found.entries[0]), output=output, name="id")


@command.command()
@click.argument("entry_ids", nargs=-1)
@click.option(
    "--file", type=click.File(encoding="utf-8"), metavar="FILE", help="Ids from FILE (- for stdin), one a line."
)
@with_admin
@dry_run_option
@output_option
def delete(socket: Where, entry_ids: tuple[str, ...], file: IO[str] | None, *, dry_run: bool, output: str) -> None:
    """Delete entries, all or none; one that is not there changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    ids = list(dict.fromkeys((*entry_ids, *(text(file).split() if file else ()))))
    if not ids and file is None:
        raise click.UsageError("Missing argument 'ENTRY_IDS...', or a --file of them: `ringfence entry list -o name`")
    request = pb.DeleteEntriesRequest(ids=ids, dry_run=dry_run)
    done = ask(socket, lambda server: server.DeleteEntries(request, timeout=60))
    deleted = set(done.deleted)
    rows = [{"id": each, "action": "deleted" if each in deleted else "unchanged"} for each in ids]
    show_list("Entry", rows, columns=["id", "action"], output=output, name="id")


command.add_command(apply)
command.add_command(explain)
command.add_command(import_)
