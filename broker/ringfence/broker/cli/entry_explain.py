"""`ringfence entry explain`: why a process has the identities it has, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ringfence.broker.cli.failure import ANSWER_IS_NO
from ringfence.broker.cli.output import output_option, show_one


@click.command()
@click.argument("pid", type=click.IntRange(min=1))
@click.option(
    "--socket",
    required=True,
    envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
    help="The agent's socket: a path, or unix:///PATH.",
)
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait.")
@output_option
def explain(pid: int, socket: str, timeout: float, output: str) -> None:
    """Say which selectors the agent finds of process PID, which entries match, and what the nearest ones lack.

    Exits 3 when none matches. For root, the agent's own user, and the user of the process.
    """
    import asyncio

    found = asyncio.run(_ask(socket, pid, timeout))
    entries = [_row(entry) for entry in found.entries]
    if output in {"table", "wide"}:
        _tell(found, entries)
    else:
        body = {"pid": pid, "selectors": list(found.selectors), "failures": list(found.failures), "entries": entries}
        show_one("EntryExplanation", body, output=output, name="pid")
    if not any(entry["matches"] for entry in entries):
        raise click.exceptions.Exit(ANSWER_IS_NO)


async def _ask(socket: str, pid: int, timeout: float) -> Any:  # noqa: ASYNC109  # the gRPC deadline
    import grpc.aio

    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.agent.config import ADMIN_SUFFIX
    from ringfence.broker.run.plan import socket_path
    from ringfence.broker.status import error_of
    from ringfence.proto.client import Client
    from ringfence.proto.service import service_of

    path = socket_path(socket) + ADMIN_SUFFIX
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        agent = Client(channel, service_of(pb, "Launcher"))
        try:
            return await agent.ExplainEntry(pb.ExplainEntryRequest(pid=pid), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, where=path) from None


def _row(entry: Any) -> dict[str, Any]:
    return {
        "id": entry.entry_id,
        "spiffeId": entry.spiffe_id,
        "selectors": list(entry.selectors),
        "matches": entry.matches,
        "missing": list(entry.missing),
        "detail": entry.detail,
    }


def _tell(found: Any, entries: Sequence[dict[str, Any]]) -> None:
    """In lines: what is true of the process, then each entry and what it lacks."""
    click.echo("Selectors found:")
    for selector in found.selectors:
        click.echo(f"  {selector}")
    for failure in found.failures:
        click.echo(f"  (not known: {failure})")
    matching = [entry for entry in entries if entry["matches"]]
    click.echo("Entries that match:" if matching else "No entry matches.")
    for entry in matching:
        click.echo(f"  {entry['spiffeId']}  {entry['id']}  {entry['detail']}")
    nearest = [entry for entry in entries if not entry["matches"]]
    if nearest:
        click.echo("Nearest entries, and what each lacks:")
    for entry in nearest:
        click.echo(f"  {entry['spiffeId']}  {entry['id']}")
        for missing in entry["missing"]:
            click.echo(f"    - {missing}")
        if entry["detail"]:
            click.echo(f"    - {entry['detail']}")
