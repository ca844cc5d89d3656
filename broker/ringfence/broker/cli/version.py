"""`ringfence version`."""

from __future__ import annotations

from importlib.metadata import version

import click

from ringfence.broker.cli.output import output_option, show_one


@click.command()
@output_option
def command(output: str) -> None:
    """Print the version; as JSON also what `--feature` takes, and the standard that each follows."""
    found = version("ringfence")
    if output in {"table", "wide"}:
        click.echo(found)
    else:
        from ringfence.broker.features import FEATURES

        features = {name: feature.follows for name, feature in FEATURES.items()}
        show_one("Version", {"version": found, "features": features}, output=output, name="version")
