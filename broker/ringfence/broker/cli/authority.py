"""`ringfence authority`: the life of the keys that sign SVIDs: show, prepare, activate, taint, revoke."""

from __future__ import annotations

from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.output import output_option, show_list, show_one

_STEPS = {
    "prepare": "Make the next one and publish it; it signs nothing yet.",
    "activate": "Sign with the prepared one; agents renew, the one before is old.",
    "taint": "Have agents renew at once what an old one signed.",
    "revoke": "Take a tainted one out of the bundle: what it signed is accepted no more.",
}


@click.group()
def command() -> None:
    """Show authorities and take the steps of their life."""


def _row(authority: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    return {
        "kind": authority.kind,
        "id": authority.id,
        "state": authority.state,
        "notBefore": rfc3339(authority.not_before) if authority.not_before else "",  # a dry run makes none
        "notAfter": rfc3339(authority.not_after) if authority.not_after else "",
        "upstream": authority.upstream,
    }


def _show(kind: str) -> click.Command:
    @click.command("show", help="List them, the signing one first.")
    @with_admin
    @output_option
    def show(socket: Where, output: str) -> None:
        from ringfence.admin.v1 import admin_pb2 as pb

        found = ask(socket, lambda server: server.ShowAuthorities(pb.ShowAuthoritiesRequest(), timeout=10))
        rows = [_row(authority) for authority in found.authorities if authority.kind == kind]
        show_list("Authority", rows, columns=["id", "state", "notBefore", "notAfter"], output=output, name="id")

    return show


def _step(kind: str, step: str, text: str) -> click.Command:
    def take(socket: Where, output: str, *, dry_run: bool, authority_id: str = "") -> None:
        from ringfence.admin.v1 import admin_pb2 as pb

        asked = pb.StepAuthorityRequest(kind=kind, step=step, id=authority_id, dry_run=dry_run)
        done = ask(socket, lambda server: server.StepAuthority(asked, timeout=30))
        row = {**_row(done.authority), "sequence": done.sequence, "agents": done.agents}
        show_one("Authority", row, output=output, name="id")

    taken: Any = with_admin(dry_run_option(output_option(take)))
    if step != "prepare":
        taken = click.argument("authority_id", metavar="[ID]", default="")(taken)
        text += " ID may be left out where only one can be meant."
    return click.command(step, help=text)(taken)


def _life(kind: str, text: str) -> click.Group:
    group = click.Group(kind, help=text)
    group.add_command(_show(kind))
    for step, help_text in _STEPS.items():
        group.add_command(_step(kind, step, help_text))
    return group


command.add_command(_life("x509", "Authorities that sign X.509-SVIDs."))
command.add_command(_life("jwt", "Authorities that sign JWT-SVIDs."))
command.add_command(_life("wit", "Authorities that sign WIT-SVIDs (a server with --feature wit-svid)."))
