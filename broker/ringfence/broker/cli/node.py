"""`ringfence node`: the agents that attested, and how to be rid of one."""

from __future__ import annotations

from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.output import output_option, show_list, show_one

_COLUMNS = ["spiffeId", "attestor", "state", "streams", "expiresAt", "reason"]
_RESULT = ["spiffeId", "action", "streams"]


@click.group()
def command() -> None:
    """List, evict and ban nodes."""


@command.command("list")
@with_admin
@click.option("--attestor", default="", help="Only those that attested so: join_token, x509pop, k8s_psat, tpm_devid.")
@click.option("--banned", is_flag=True, help="Only those that are banned.")
@output_option
def list_(socket: Where, attestor: str, banned: bool, output: str) -> None:  # noqa: FBT001  # a click flag
    """List nodes, the first that attested first."""
    rows = [row for row in _rows(socket, attestor=attestor) if not banned or row["banned"]]
    show_list("Node", rows, columns=_COLUMNS, output=output, name="spiffeId")


@command.command()
@click.argument("spiffe_id")
@with_admin
@output_option
def show(socket: Where, spiffe_id: str, output: str) -> None:
    """Show one node."""
    show_one("Node", _rows(socket, spiffe_ids=[spiffe_id])[0], output=output, name="spiffeId")


@command.command()
@with_admin
@click.option("--attestor", default="", help="Only those that attested so.")
@output_option
def count(socket: Where, attestor: str, output: str) -> None:
    """Count nodes by state."""
    rows = _rows(socket, attestor=attestor)
    states = {state: sum(row["state"] == state for row in rows) for state in ("connected", "away", "banned")}
    show_one("NodeCount", {"nodes": len(rows), **states}, output=output, name="nodes")


@command.command()
@click.argument("spiffe_ids", nargs=-1, required=True)
@with_admin
@dry_run_option
@output_option
def evict(socket: Where, spiffe_ids: tuple[str, ...], *, dry_run: bool, output: str) -> None:
    """End the streams of nodes and have them attest anew; a token node needs a new token then."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.EvictNodesRequest(spiffe_ids=spiffe_ids, dry_run=dry_run)
    _show_results(ask(socket, lambda server: server.EvictNodes(asked, timeout=30)), output)


@command.command()
@click.argument("spiffe_ids", nargs=-1, required=True)
@click.option("--reason", default="", help="For people, and for the agents that are refused; again to change it.")
@with_admin
@dry_run_option
@output_option
def ban(socket: Where, spiffe_ids: tuple[str, ...], *, reason: str, dry_run: bool, output: str) -> None:
    """End the streams of nodes and refuse them until `node unban`, also those that never attested."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.BanNodesRequest(spiffe_ids=spiffe_ids, reason=reason, dry_run=dry_run)
    _show_results(ask(socket, lambda server: server.BanNodes(asked, timeout=30)), output)


@command.command()
@click.argument("spiffe_ids", nargs=-1, required=True)
@with_admin
@dry_run_option
@output_option
def unban(socket: Where, spiffe_ids: tuple[str, ...], *, dry_run: bool, output: str) -> None:
    """Admit nodes again; an SVID of theirs that is still valid is good again."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.BanNodesRequest(spiffe_ids=spiffe_ids, lift=True, dry_run=dry_run)
    _show_results(ask(socket, lambda server: server.BanNodes(asked, timeout=30)), output)


def _rows(socket: Where, **asked: Any) -> list[dict[str, Any]]:
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListNodes(pb.ListNodesRequest(**asked), timeout=30))
    return list(map(_row, found.nodes))


def _row(node: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    away = "connected" if node.streams else "away"
    return {
        "spiffeId": node.spiffe_id,
        "attestor": node.attestor,
        "state": "banned" if node.banned else away,
        "streams": node.streams,
        "attestedAt": rfc3339(node.attested_at),
        "expiresAt": rfc3339(node.expires_at),
        "serial": node.serial,
        "banned": node.banned,
        "reason": node.reason,
        "canReattest": node.can_reattest,
        "selectors": list(node.selectors),
    }


def _show_results(done: Any, output: str) -> None:
    rows = [{"spiffeId": r.spiffe_id, "action": r.action, "streams": r.streams} for r in done.results]
    show_list("NodeResult", rows, columns=_RESULT, output=output, name="spiffeId")
