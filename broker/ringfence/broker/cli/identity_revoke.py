"""`ringfence identity revoke`, `lift` and `revocations`: taking back what was given, and giving it again."""

from __future__ import annotations

import re
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.output import list_options, show_list
from ringfence.broker.cli.times import MOMENT, rfc3339
from ringfence.certs.revocation import REASON_CODES

_COLUMNS = ["subject", "kind", "action", "documents"]
_SERIAL = re.compile("[0-9a-f]{32}")
_LISTED = ["subject", "kind", "revokedAt", "until", "reason"]


def plain_serial(serial: str) -> str:
    """A serial as it is kept; openssl and browsers write it in upper case, with colons or without leading zeros."""
    return serial.replace(":", "").lower().zfill(32)


class _Serial(click.ParamType[str]):
    """A serial as it is kept."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The one that *value* spells; fails as click's own types do."""
        plain = plain_serial(str(value))
        if not _SERIAL.fullmatch(plain):
            self.fail(f"{value!r} is no serial number; see those of `ringfence identity list`", param, ctx)
        return plain


@click.command()
@click.argument("spiffe_ids", metavar="[SPIFFE_ID]...", nargs=-1)
@click.option(
    "--serial",
    "serials",
    type=_Serial(),
    multiple=True,
    help="One X.509-SVID: its key is burnt, the workload gets another.",
)
@click.option("--node", "nodes", multiple=True, help="All that this agent got, and the agent itself: it is banned.")
@click.option("--reason", default="", help="For people, and for whoever is refused by it.")
@click.option("--code", type=click.Choice(REASON_CODES), help="Reason on revocation lists.  [default: by the kind]")
@click.option("--until", type=MOMENT, default=0, help="Lift an identity by itself then: 2h, or an RFC 3339 time.")
@with_admin
@dry_run_option
@list_options
def revoke(socket: Where, code: str | None, *, dry_run: bool, output: str, **asked: Any) -> None:
    """Take back identities, single SVIDs, or all that a node got; agents and proxies are told at once.

    Of an identity nothing more is issued until `lift`; its streams end, its tokens are invalid, its certificates are
    listed as revoked.
    """
    from ringfence.admin.v1 import admin_pb2 as pb

    if not (asked["spiffe_ids"] or asked["serials"] or asked["nodes"]):
        raise click.UsageError("name a SPIFFE ID, or give --serial or --node")
    request = pb.RevokeIdentitiesRequest(code=code or "", dry_run=dry_run, **asked)
    done = ask(socket, lambda server: server.RevokeIdentities(request, timeout=60))
    told = {"agents": done.agents, "proxies": done.proxies, "connections": done.connections}
    _show(done, told, output)
    if not dry_run:
        counts = _count(done.agents, "agent"), _count(done.proxies, "proxy"), _count(done.connections, "connection")
        click.echo("told: {}, {}; closed: {} to this server".format(*counts), err=True)


@click.command()
@click.argument("spiffe_ids", nargs=-1, required=True)
@with_admin
@dry_run_option
@list_options
def lift(socket: Where, spiffe_ids: tuple[str, ...], *, dry_run: bool, output: str) -> None:
    """Give revoked identities again; certificates that were revoked with them stay revoked."""
    from ringfence.admin.v1 import admin_pb2 as pb

    request = pb.LiftRevocationsRequest(spiffe_ids=spiffe_ids, dry_run=dry_run)
    done = ask(socket, lambda server: server.LiftRevocations(request, timeout=60))
    _show(done, {"agents": done.agents}, output)


@click.command()
@with_admin
@list_options
def revocations(socket: Where, output: str) -> None:
    """List what is revoked now: identities until they are lifted, certificates until they have ended."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListRevocations(pb.ListRevocationsRequest(), timeout=60))
    rows = [_identity(one) for one in found.identities] + [_certificate(one) for one in found.certificates]
    show_list("Revocation", rows, columns=_LISTED, output=output, name="subject")


def _count(number: int, what: str) -> str:
    many = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{number} {what if number == 1 else many}"


def _show(done: Any, told: dict[str, int], output: str) -> None:
    rows = [
        {"subject": one.subject, "kind": one.kind, "action": one.action, "documents": one.documents, **told}
        for one in done.results
    ]
    show_list("RevocationResult", rows, columns=_COLUMNS, output=output, name="subject")


def _identity(one: Any) -> dict[str, Any]:
    return {
        "subject": one.spiffe_id,
        "kind": "identity",
        "spiffeId": one.spiffe_id,
        "revokedAt": rfc3339(one.revoked_at),
        "until": rfc3339(one.until) if one.until else "it is lifted",
        "by": one.by,
        "node": "",
        "authority": "",
        "code": "",
        "reason": one.reason,
    }


def _certificate(one: Any) -> dict[str, Any]:
    return {
        "subject": one.serial,
        "kind": "certificate",
        "spiffeId": one.spiffe_id,
        "revokedAt": rfc3339(one.revoked_at),
        "until": rfc3339(one.expires_at),
        "by": "",
        "node": one.node,
        "authority": one.authority,
        "code": one.code,
        "reason": one.reason,
    }
