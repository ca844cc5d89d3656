"""`ringfence egress list`: which workload asked for which host outside, and what was decided."""

from __future__ import annotations

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.output import list_options, show_list

_COLUMNS = ["workload", "host", "verdict", "rule", "count", "lastAt", "next"]
_SECOND = 1_000_000_000  # nanoseconds


@click.group()
def command() -> None:
    """See what tried to leave the mesh."""


@command.command("list")
@click.option("--denied", is_flag=True, help="Only what was denied.")
@with_admin
@list_options
def list_(socket: Where, output: str, *, denied: bool) -> None:
    """List what workloads asked for outside, the latest first, with what to write for what was denied.

    A server sums up what the proxies connected to it have told since it started, for 5,000 pairs of workload and host.
    """
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    asked = pb.ListDeparturesRequest(denied_only=denied)
    found = ask(socket, lambda server: server.ListDepartures(asked, timeout=10))
    rows = [
        {
            "workload": each.spiffe_id,
            "host": each.host,
            "verdict": "allowed" if each.allowed else "denied",
            "rule": each.rule,
            "count": each.count,
            "firstAt": rfc3339(each.first_ns // _SECOND),
            "lastAt": rfc3339(each.last_ns // _SECOND),
            "next": each.next,
        }
        for each in found.departures
    ]
    show_list("Departure", rows, columns=_COLUMNS, output=output, name="host")
    if found.dropped:
        click.echo(f"{found.dropped} older ones were given up for want of room", err=True)
