"""`ringfence bundle`: what others verify this trust domain by."""

from __future__ import annotations

from pathlib import Path

import click

from ringfence.broker.cli.admin_client import ask, with_admin


@click.group()
def command() -> None:
    """Show the trust bundle."""


@command.command()
@with_admin
@click.option(
    "--format", "form", type=click.Choice(["pem", "spiffe"]), default="pem", show_default=True, help="What to print."
)
def show(socket: Path, form: str) -> None:
    """Print the bundle: the roots as PEM, or the SPIFFE bundle as JSON."""
    from ringfence.admin.v1 import admin_pb2 as pb

    text = ask(socket, lambda server: server.ShowBundle(pb.ShowBundleRequest(), timeout=10)).bundle
    if form == "spiffe":
        click.echo(text)
        return
    from ringfence.certs.bundle import SpiffeBundle
    from ringfence.certs.spiffe_id import TrustDomain

    # The name does not matter for printing roots.
    click.echo(SpiffeBundle.parse(TrustDomain("shown"), text).x509_pem(), nl=False)
