"""`ringfence entry`: registration entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import ask, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one

_COLUMNS = ["id", "spiffeId", "selectors", "origin"]


@click.group()
def command() -> None:
    """Create, list, show and delete registration entries."""


@command.command()
@with_admin
@click.option("--spiffe-id", required=True, help="Identity to give.")
@click.option("--parent-id", default="", help="Agent that may give it.  [default: every attested one]")
@click.option("--selector", "selectors", multiple=True, required=True, help="unix:uid:1000; all given must hold.")
@click.option("--ttl", type=DURATION, default=0, help="Life of its X509-SVIDs.  [default: 1h]")
@click.option("--jwt-ttl", type=DURATION, default=0, help="Life of its JWT-SVIDs.  [default: 5m]")
@click.option("--dns", "dns_names", multiple=True, help="DNS name to put beside the identity.")
@click.option("--hint", default="", help="Which of several identities this is, for the workload.")
@output_option
def create(socket: Path, *, ttl: int, output: str, **given: Any) -> None:
    """Register an identity; registering the same again changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    entry = pb.Entry(x509_ttl=ttl, **given)
    done = ask(socket, lambda server: server.CreateEntries(pb.CreateEntriesRequest(entries=[entry]), timeout=10))
    result = done.results[0]
    show_one("Entry", {**_row(result.entry), "action": result.action}, output=output, name="id")


@command.command("list")
@with_admin
@click.option("--spiffe-id", default="", help="Only those of this identity.")
@list_options
def list_(socket: Path, spiffe_id: str, output: str) -> None:
    """List entries, those compiled from intent included."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListEntries(pb.ListEntriesRequest(spiffe_id=spiffe_id), timeout=30))
    show_list("Entry", [_row(entry) for entry in found.entries], columns=_COLUMNS, output=output, name="id")


@command.command()
@click.argument("entry_id")
@with_admin
@output_option
def show(socket: Path, entry_id: str, output: str) -> None:
    """Show one entry."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListEntries(pb.ListEntriesRequest(ids=[entry_id]), timeout=10))
    show_one("Entry", _row(found.entries[0]), output=output, name="id")


@command.command()
@click.argument("entry_ids", nargs=-1, required=True)
@with_admin
@output_option
def delete(socket: Path, entry_ids: tuple[str, ...], output: str) -> None:
    """Delete entries; one that is not there changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    done = ask(socket, lambda server: server.DeleteEntries(pb.DeleteEntriesRequest(ids=entry_ids), timeout=10))
    deleted = set(done.deleted)
    rows = [{"id": each, "action": "deleted" if each in deleted else "unchanged"} for each in entry_ids]
    show_list("Entry", rows, columns=["id", "action"], output=output, name="id")


def _row(entry: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    return {
        "id": entry.id,
        "spiffeId": entry.spiffe_id,
        "parentId": entry.parent_id,
        "selectors": list(entry.selectors),
        "x509Ttl": entry.x509_ttl,
        "jwtTtl": entry.jwt_ttl,
        "dnsNames": list(entry.dns_names),
        "hint": entry.hint,
        "createdAt": rfc3339(entry.created_at),
        "revision": entry.revision,
        "origin": entry.origin,
    }
