"""`ringfence fabric status`: what the agent of this machine holds of the fabrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ringfence.broker.cli.failure import ANSWER_IS_NO
from ringfence.broker.cli.output import list_options, show_list

_COLUMNS = ("fabric", "state", "interfaces", "addresses", "job", "joined", "members", "until")


@click.command()
@click.option(
    "--socket",
    required=True,
    envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
    help="The agent's socket: a path, or unix:///PATH.",
)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait.")
@list_options
def status(socket: str, timeout: float, output: str) -> None:
    """List the fabrics of this node and the jobs on each: its own addresses, who takes part, and until when.

    Members are shown of jobs that workloads of this node are in, and of no others. Exits 3 when a fabric is not in
    force as it is to be. For root and the agent's own user.
    """
    import asyncio

    found = asyncio.run(_ask(socket, timeout))
    rows = [row for fabric in found.fabrics for row in _rows(fabric)]
    show_list("HeldFabric", rows, columns=_COLUMNS, output=output, name="fabric")
    if output in {"table", "wide"} and found.closed_ports:
        click.echo(f"TCP ports closed to all but this node: {', '.join(map(str, found.closed_ports))}")
    failed = [fabric for fabric in found.fabrics if fabric.state == "failed"]
    for fabric in failed:
        click.echo(f"{fabric.fabric.namespace}/{fabric.fabric.name}: {fabric.detail}", err=True)
    if failed:
        raise click.exceptions.Exit(ANSWER_IS_NO)


async def _ask(socket: str, timeout: float) -> Any:  # noqa: ASYNC109  # the gRPC deadline
    import grpc.aio

    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.agent.config import ADMIN_SUFFIX
    from ringfence.broker.run.plan import socket_path
    from ringfence.broker.status import error_of
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of

    path = socket_path(socket) + ADMIN_SUFFIX
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        try:
            return await Client(channel, service_of(pb, "Fabrics")).ShowFabrics(
                pb.ShowFabricsRequest(), timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            raise error_of(error, where=path) from None


def _rows(held: Any) -> Iterator[dict[str, Any]]:
    """One for each job; of a fabric without any, one without a job."""
    fabric = {
        "fabric": f"{held.fabric.namespace}/{held.fabric.name}",
        "state": held.state,
        "interfaces": list(held.interfaces),
        "addresses": list(held.addresses),
    }
    jobs = [_job(job, joined=job.job in held.joined) for job in held.jobs]
    for job in jobs or [{"job": "", "joined": False, "members": [], "until": "", "expires": "", "spiffeIds": []}]:
        yield {**fabric, **job, "detail": held.detail}


def _job(job: Any, *, joined: bool) -> dict[str, Any]:
    return {
        "job": job.job,
        "joined": joined,
        "members": [member.address for member in job.members],
        "until": _time(min((member.until for member in job.members), default=0)),
        "expires": _time(job.expires_at),
        "spiffeIds": list(job.spiffe_ids),
    }


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}" if seconds else ""
