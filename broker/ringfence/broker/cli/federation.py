"""`ringfence federation`: where the bundles of other trust domains are fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.bundle import read
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one

_COLUMNS = ["trustDomain", "profile", "url", "sequence", "refreshedAt", "failure"]


@click.group()
def command() -> None:
    """Federate with other trust domains."""


def _relation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What an operator writes of a relation."""
    for option in (
        click.option(
            "--bootstrap-bundle",
            type=click.Path(path_type=Path, readable=False),
            help="https_spiffe: SPIFFE bundle (JSON) to know the endpoint by at first.",
        ),
        click.option("--endpoint-id", default="", help="https_spiffe: the SPIFFE ID that the endpoint shows."),
        click.option(
            "--profile", type=click.Choice(["https_spiffe", "https_web"]), required=True, help="How it proves itself."
        ),
        click.option("--url", required=True, help="Its bundle endpoint, https://HOST[:PORT]/PATH."),
    ):
        function = option(function)
    return function


@command.command()
@click.argument("trust_domain")
@with_admin
@_relation_options
@dry_run_option
@output_option
def create(socket: Where, output: str, **given: Any) -> None:
    """Fetch the bundle of TRUST_DOMAIN from now on; the same again changes nothing."""
    _write("CreateFederation", socket, output, **given)


@command.command()
@click.argument("trust_domain")
@with_admin
@_relation_options
@dry_run_option
@output_option
def update(socket: Where, output: str, **given: Any) -> None:
    """Fetch the bundle of TRUST_DOMAIN from elsewhere; the one that is held stays until then."""
    _write("UpdateFederation", socket, output, **given)


def _write(method: str, socket: Where, output: str, *, bootstrap_bundle: Path | None, **given: Any) -> None:
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.Federation(bootstrap=read(bootstrap_bundle) if bootstrap_bundle else b"", **given)
    made = ask(socket, lambda server: getattr(server, method)(asked, timeout=10))
    show_one("Federation", {**_row(made), "action": made.action}, output=output, name="trustDomain")


@command.command("list")
@with_admin
@list_options
def list_(socket: Where, output: str) -> None:
    """List the relations and how the last fetch went."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.ListFederations(pb.ListFederationsRequest(), timeout=10))
    rows = [_row(each) for each in found.federations]
    show_list("Federation", rows, columns=_COLUMNS, output=output, name="trustDomain")


@command.command()
@click.argument("trust_domain")
@with_admin
@output_option
def show(socket: Where, trust_domain: str, output: str) -> None:
    """Show one relation."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.ListFederationsRequest(trust_domain=trust_domain)
    found = ask(socket, lambda server: server.ListFederations(asked, timeout=10))
    show_one("Federation", _row(found.federations[0]), output=output, name="trustDomain")


@command.command()
@click.argument("trust_domain")
@with_admin
@output_option
def refresh(socket: Where, trust_domain: str, output: str) -> None:
    """Fetch the bundle now."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.RefreshFederationRequest(trust_domain=trust_domain)
    found = ask(socket, lambda server: server.RefreshFederation(asked, timeout=30))
    show_one("Federation", _row(found), output=output, name="trustDomain")


@command.command()
@click.argument("trust_domain")
@with_admin
@dry_run_option
@output_option
def delete(socket: Where, trust_domain: str, *, dry_run: bool, output: str) -> None:
    """End a relation and forget the bundle; one that is not there changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.DeleteFederationRequest(trust_domain=trust_domain, dry_run=dry_run)
    done = ask(socket, lambda server: server.DeleteFederation(asked, timeout=10))
    row = {"trustDomain": trust_domain, "action": "deleted" if done.deleted else "unchanged"}
    show_one("Federation", row, output=output, name="trustDomain")


def _row(found: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339

    return {
        "trustDomain": found.trust_domain,
        "url": found.url,
        "profile": found.profile,
        "endpointId": found.endpoint_id,
        "createdAt": rfc3339(found.created_at) if found.created_at else "",  # a dry run makes none
        "sequence": found.sequence,
        "refreshedAt": rfc3339(found.refreshed_at) if found.refreshed_at else "",
        "nextAt": rfc3339(found.next_at) if found.next_at else "",
        "failure": found.failure,
    }
