"""`ringfence token`: join tokens for agents."""

from __future__ import annotations

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.output import output_option, show_one


@click.group()
def command() -> None:
    """Make join tokens for agents."""


@command.command()
@with_admin
@click.option("--ttl", type=DURATION, default="10m", show_default=True, help="How long it may be used, once.")
@output_option
def generate(socket: Where, ttl: int, output: str) -> None:
    """Make a token that one agent can join with, once."""
    if ttl < 1:
        raise click.BadParameter("a token that is never valid joins nobody; write 10m", param_hint="--ttl")
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    made = ask(socket, lambda server: server.GenerateToken(pb.GenerateTokenRequest(ttl=ttl), timeout=10))
    row = {"token": made.token, "expiresAt": rfc3339(made.expires_at)}
    show_one("JoinToken", row, output=output, name="token")
