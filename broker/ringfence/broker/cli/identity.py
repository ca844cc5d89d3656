"""`ringfence identity`: which identity documents were given to whom, why, and which were taken back."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.identity_revoke import lift, plain_serial, revocations, revoke
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one

_COLUMNS = ["serial", "kind", "spiffeId", "node", "state", "expiresAt"]
_HOLDERS = ["node", "live", "serial", "expiresAt"]
_REASONS = ["spiffeId", "why", "document", "ttl", "whyTtl"]


@click.group()
def command() -> None:
    """List, show, explain and revoke the identities that were given."""


for _taking_back in (revoke, lift, revocations):
    command.add_command(_taking_back)


@command.command("list")
@with_admin
@click.option("--expiring", type=DURATION, default=0, help="Only live ones that end within this time.")
@click.option("--spiffe-id", default="", help="Only those of this identity.")
@click.option("--node", default="", help="Only those that this agent asked for.")
@click.option(
    "--state",
    type=click.Choice(["live", "revoked", "ended", "unfinished", "refused"]),
    help="Only those in this state.",
)
@click.option("--revoked", "state", flag_value="revoked", help="The same as --state revoked.")
@list_options
def list_(socket: Where, state: str | None, output: str, **given: Any) -> None:
    """List SVIDs that were issued or refused, those that end first, first."""
    rows = [_row(identity) for identity in _all(socket, state=state or "", **given)]
    show_list("Identity", rows, columns=_COLUMNS, output=output, name="serial")


@command.command()
@click.argument("serial")
@with_admin
@output_option
def show(socket: Where, serial: str, output: str) -> None:
    """Show one SVID by its serial number, hex as certificates and logs have it."""
    from ringfence.certs.errors import Kind, RingfenceError

    found = _all(socket, serial=plain_serial(serial))
    if not found:
        hint = "Run `ringfence identity list`; what ended long ago is forgotten (--ledger-retention)"
        raise RingfenceError(Kind.NOT_FOUND, f"no SVID {serial} is known here", hint=hint)
    show_one("Identity", _row(found[0]), output=output, name="serial")


@command.command()
@click.argument("subject", metavar="SPIFFE_ID|SERIAL")
@with_admin
@list_options
def explain(socket: Where, subject: str, output: str) -> None:
    """Say why an identity is given (entry, selectors, document and line), and why it lives as long as it does."""
    from ringfence.admin.v1 import admin_pb2 as pb

    wanted = subject if subject.startswith("spiffe://") else plain_serial(subject)
    request = pb.ExplainIdentityRequest(subject=wanted)
    found = ask(socket, lambda server: server.ExplainIdentity(request, timeout=30))
    rows = [_reason(reason, subject) for reason in found.reasons]
    if output in {"table", "wide"}:
        for position, row in enumerate(rows):
            if position:
                click.echo()
            show_one("IdentityReason", row, output=output, name="entry")
        return
    show_list("IdentityReason", rows, columns=_REASONS, output=output, name="entry")


@command.command()
@click.argument("spiffe_id")
@with_admin
@list_options
def holders(socket: Where, spiffe_id: str, output: str) -> None:
    """List the nodes that hold live X509-SVIDs of an identity, with the one that ends last."""
    nodes: defaultdict[str, list[Any]] = defaultdict(list)
    for identity in _all(socket, spiffe_id=spiffe_id, state="live"):
        if identity.kind == "x509":
            nodes[identity.node].append(identity)
    rows = [_holder(node, held) for node, held in sorted(nodes.items())]
    show_list("IdentityHolder", rows, columns=_HOLDERS, output=output, name="node")


def _all(socket: Where, **wanted: Any) -> list[Any]:
    """Every page."""
    from ringfence.admin.v1 import admin_pb2 as pb

    async def collect(server: Any) -> list[Any]:
        found: list[Any] = []
        request = pb.ListIdentitiesRequest(**wanted)
        while True:
            page = await server.ListIdentities(request, timeout=30)
            found += page.identities
            if not page.next:
                return found
            request.after = page.next

    return ask(socket, collect)


def _row(identity: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    return {
        "serial": identity.serial,
        "kind": identity.kind,
        "spiffeId": identity.spiffe_id,
        "node": identity.node,
        "state": identity.state,
        "issuedAt": rfc3339(identity.recorded_at),
        "expiresAt": rfc3339(identity.expires_at),
        "entry": identity.entry_id,
        "authority": identity.authority,
        "renews": identity.renews,
        "renewedBy": identity.renewed_by,
        "reason": identity.reason,
    }


def _holder(node: str, held: list[Any]) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    last = max(held, key=lambda identity: identity.expires_at)
    return {"node": node, "live": len(held), "serial": last.serial, "expiresAt": rfc3339(last.expires_at)}


def _reason(reason: Any, subject: str) -> dict[str, Any]:
    has_entry = reason.HasField("entry")
    return {
        "spiffeId": reason.identity.spiffe_id or reason.entry.spiffe_id or subject,
        "why": reason.why,
        "entry": reason.entry.id,
        "selectors": list(reason.entry.selectors),
        "document": f"{reason.path}:{reason.line}" if reason.path else "",
        "revision": reason.revision,
        "origin": reason.entry.origin if has_entry else "",
        "ttl": reason.ttl,
        "whyTtl": reason.why_ttl,
        "serial": reason.identity.serial,
        "state": reason.identity.state,
        "node": reason.identity.node,
        "authority": reason.identity.authority,
    }
