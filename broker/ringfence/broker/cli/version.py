"""`ringfence version`."""

from __future__ import annotations

from importlib.metadata import version

import click

from ringfence.broker.cli.output import output_option, show_one


@click.command()
@output_option
def command(output: str) -> None:
    """Print the version."""
    found = version("ringfence")
    if output in {"table", "wide"}:
        click.echo(found)
    else:
        show_one("Version", {"version": found}, output=output, name="version")
