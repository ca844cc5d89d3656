"""`ringfence slurm`: identities for the jobs of a Slurm cluster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.entry_files import send, trust_domain
from ringfence.broker.cli.output import output_option, show_list

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COLUMNS = ["action", "id", "spiffeId", "parentId"]


@click.group()
def command() -> None:
    """Give the jobs of a Slurm cluster their identities."""


@command.command()
@with_admin
@click.option("--cluster", envvar="SLURM_CLUSTER_NAME", required=True, help="ClusterName of slurm.conf.")
@click.option(
    "--tenants",
    type=_FILE,
    envvar="RINGFENCE_SLURM_TENANTS",
    required=True,
    help="Lines GROUP PATH: identities of the jobs of a group; %j in a path is the job's number.",
)
@click.option(
    "--nodes",
    type=_FILE,
    envvar="RINGFENCE_SLURM_NODES",
    help="Lines NODE PATH: the agent of a node, which alone may give them.  [default: every attested agent]",
)
@click.option("--job", type=click.IntRange(1), help="Only that job.  [default: all, and what has no job goes]")
@click.option("--grace", type=DURATION, default="3m", show_default=True, help="How long they outlive a job's end.")
@click.option(
    "--unlimited", type=DURATION, default="7d", show_default=True, help="How long they last for a job without a limit."
)
@click.option("--squeue", default="squeue", show_default=True, metavar="PROGRAM", help="Where squeue is.")
@dry_run_option
@output_option
def sync(socket: Where, *, dry_run: bool, output: str, **given: Any) -> None:
    """Make the entries of jobs be as squeue has them: for a prolog, an epilog, and from time to time.

    An entry asks for the job's number, by its cgroup, and for the user's. It ends with the job's limit.
    """
    from ringfence.broker.slurm.entries import changes
    from ringfence.broker.slurm.squeue import squeue

    site = _site(socket, given)
    # What is held is looked at first: a job that begins after that is in no list yet, and loses nothing.
    held = _held(socket, site, given["job"])
    made = changes(site, squeue(given["job"], given["squeue"]), held, int(time.time()))
    rows = [*_delete(socket, made.delete, held, dry_run=dry_run), *_apply(socket, made.apply, dry_run=dry_run)]
    show_list("EntryChange", rows, columns=_COLUMNS, output=output, name="id")


def _site(socket: Where, given: dict[str, Any]) -> Any:
    from ringfence.broker.slurm import tables
    from ringfence.broker.slurm.entries import Site

    return Site(
        trust_domain(socket),
        given["cluster"],
        tables.tenants(given["tenants"].read_text(encoding="utf-8", errors="replace"), str(given["tenants"])),
        tables.nodes(given["nodes"].read_text(encoding="utf-8", errors="replace"), str(given["nodes"]))
        if given["nodes"]
        else {},
        given["grace"],
        given["unlimited"],
    )


def _held(socket: Where, site: Any, job: int | None) -> list[Any]:
    """The cluster's entries, of one job or of all."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.entry_message import entry_of

    selectors = [f"slurm:job_id:{job}"] if job else []
    asked = pb.ListEntriesRequest(hint=site.hint, origin="api", selectors=selectors)
    found = ask(socket, lambda server: server.ListEntries(asked, timeout=30))
    return [entry_of(entry, site.trust_domain, keep=True) for entry in found.entries]


def _delete(socket: Where, ids: tuple[str, ...], held: list[Any], *, dry_run: bool) -> list[dict[str, str]]:
    from ringfence.admin.v1 import admin_pb2 as pb

    if ids:
        request = pb.DeleteEntriesRequest(ids=ids, dry_run=dry_run)
        ask(socket, lambda server: server.DeleteEntries(request, timeout=60))
    by_id = {entry.id: entry for entry in held}
    return [_row("deleted", each, by_id[each].name, str(by_id[each].parent_id)) for each in ids]


def _apply(socket: Where, entries: tuple[Any, ...], *, dry_run: bool) -> list[dict[str, str]]:
    from ringfence.broker.entry_message import entry_message

    if not entries:
        return []
    done = send(socket, [entry_message(entry) for entry in entries], prune=False, dry_run=dry_run)
    return [_row(each.action, each.entry.id, each.entry.spiffe_id, each.entry.parent_id) for each in done]


def _row(action: str, entry_id: str, spiffe_id: str, parent_id: str) -> dict[str, str]:
    return {"action": action, "id": entry_id, "spiffeId": spiffe_id, "parentId": parent_id}
