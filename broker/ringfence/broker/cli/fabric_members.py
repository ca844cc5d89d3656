"""`ringfence fabric members`: who takes part in jobs on fabrics, as the server has it."""

from __future__ import annotations

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.output import list_options, show_list

_COLUMNS = ["fabric", "job", "spiffeId", "addresses", "state", "nodeState", "until", "detail"]


@click.command()
@click.argument("fabric", default="", metavar="[FABRIC]")
@click.option("--job", default="", help="Only those of a job: NAMESPACE/JOB, or JOB.")
@with_admin
@list_options
def members(socket: Where, fabric: str, job: str, output: str) -> None:
    """List who takes part in jobs on FABRIC, or on all, who would and may not, and what their nodes hold of it.

    A node is `applied` when it holds all that it was told, `pending` until it has said so, `failed` with the reason,
    `away` when it is not connected, and `elsewhere` when it is to another server.
    """
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    asked = pb.ListFabricMembersRequest(fabric=fabric, job=job)
    found = ask(socket, lambda server: server.ListFabricMembers(asked, timeout=30))
    rows = [
        {
            "fabric": one.fabric,
            "job": one.job,
            "spiffeId": one.spiffe_id,
            "addresses": list(one.addresses),
            "state": one.state,
            "nodeState": one.node_state,
            "since": rfc3339(one.since) if one.since else None,
            "until": rfc3339(one.until) if one.until else None,
            "entryId": one.entry_id,
            "node": one.node,
            "detail": one.detail,
        }
        for one in found.members
    ]
    show_list("FabricMember", rows, columns=_COLUMNS, output=output, name="spiffeId")
