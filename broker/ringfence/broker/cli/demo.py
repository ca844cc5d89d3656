"""`ringfence demo`, `demo up`, `demo down`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click


@click.group(invoke_without_command=True)
@click.option(
    "--scenario",
    type=click.Choice(["laptop", "fraud", "training"]),
    default="laptop",
    show_default=True,
    help="Which story to tell.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write what was measured there."
)
@click.pass_context
def command(context: click.Context, scenario: str, json_file: Path | None) -> None:
    """Run a whole story on this machine, checking itself: no root, no cluster, about a minute.

    laptop: a training job, what it may reach, and why the rest is denied. fraud: card payments that are scored while a
    zone is lost, the control plane is away, and an intruder has a scorer's key. training: PyTorch on two nodes, whose
    ranks meet through mutual TLS and compute on a fabric that strangers are kept off, until one of them is revoked.
    """
    if context.invoked_subcommand is not None:
        if scenario != "laptop":
            raise click.UsageError("demo up and down know the laptop scenario only")
        return
    from ringfence.broker.demo.lifecycle import run_demo

    sys.exit(run_demo(scenario, json_file))


@command.command()
def up() -> None:
    """Start the demo's mesh and leave it running."""
    from ringfence.broker.demo.lifecycle import bring_up

    asyncio.run(bring_up())


@command.command()
def down() -> None:
    """End what `demo up` started and remove what it made."""
    from ringfence.broker.demo.lifecycle import bring_down

    bring_down()
