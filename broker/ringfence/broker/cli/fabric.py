"""`ringfence fabric`: the networks of collectives."""

from __future__ import annotations

import click

from ringfence.broker.cli.fabric_check import check
from ringfence.broker.cli.fabric_doctor import doctor
from ringfence.broker.cli.fabric_emit import emit
from ringfence.broker.cli.fabric_env import env
from ringfence.broker.cli.fabric_leak import leak_test
from ringfence.broker.cli.fabric_members import members
from ringfence.broker.cli.fabric_plan import apply, plan, remove
from ringfence.broker.cli.fabric_status import status


@click.group()
def command() -> None:
    """Keep collectives on their fabric."""


command.add_command(check)
command.add_command(doctor)
command.add_command(emit)
command.add_command(env)
command.add_command(leak_test)
command.add_command(members)
command.add_command(plan)
command.add_command(apply)
command.add_command(remove)
command.add_command(status)
