"""`ringfence server list` and `forget`: the servers that share one database."""

from __future__ import annotations

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one

_COLUMNS = ["id", "name", "address", "state", "onDuty", "bundleSequence"]


@click.command("list")
@with_admin
@list_options
def list_(socket: Where, output: str) -> None:
    """List the servers on this database, the first that came first."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    found = ask(socket, lambda server: server.ListServers(pb.ListServersRequest(), timeout=10))
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "address": one.address,
            "state": "living" if one.living else "gone",
            "here": one.here,
            "onDuty": one.on_duty,
            "startedAt": rfc3339(one.started_at),
            "bundleSequence": one.bundle_sequence,
        }
        for one in found.servers
    ]
    show_list("Server", rows, columns=_COLUMNS, output=output, name="id")


@click.command()
@click.argument("server_id")
@with_admin
@dry_run_option
@output_option
def forget(socket: Where, server_id: str, *, dry_run: bool, output: str) -> None:
    """Have a server gone for good; its authorities stay in the bundle until the last SVID that they signed ends."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    asked = pb.ForgetServerRequest(id=server_id, dry_run=dry_run)
    done = ask(socket, lambda server: server.ForgetServer(asked, timeout=10))
    row = {"id": done.id, "authoritiesUntil": rfc3339(done.until)}
    show_one("ServerForgotten", row, output=output, name="id")
