"""`ringfence fabric env`: what a job on a fabric is told, and whether it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.fabric_options import with_documents
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import list_options, show_list

if TYPE_CHECKING:
    from ringfence.fabric.environment import Environment

_FORMS = ("env", "nccl.conf", "shell", "slurm", "json", "kubernetes")
_COLUMNS = ("pid", "variable", "wrong", "wanted", "found", "leaves")


class ShowUnlessNamed(click.Group):
    """A group whose first word is a fabric, for `show`, unless it is one of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with `show` put in front of what begins with no command and asks for no help."""
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args.insert(0, "show")
        return super().parse_args(ctx, args)


def _with_job(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which fabric's documents, job and node are meant."""
    for option in (
        click.option(
            "--bootstrap",
            default="",
            metavar="NAME",
            help="Interface off the fabric by which ranks find each other, where its own may not be used.",
        ),
        click.option(
            "--sys",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("/sys"),
            show_default=True,
            help="The node's /sys, or a copy: class/net, class/infiniband, class/cxi.",
        ),
        click.option(
            "--secret-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="With --job: the secret, 16 bytes or more and the same on each node, for NCCL_SOCKET_MAGIC.",
        ),
        click.option(
            "--job",
            default="",
            metavar="JOB",
            help="A job that a FabricGrant in force lets use it: NAMESPACE/JOB, or JOB where that is one alone.",
        ),
    ):
        command = option(command)
    return with_documents(command)


@click.group(cls=ShowUnlessNamed)
def env() -> None:
    """Print the environment of a job on a fabric, or hold a running one against it.

    `ringfence fabric env FABRIC` is short for `ringfence fabric env show FABRIC`.
    """


@env.command()
@click.argument("fabric", metavar="FABRIC")
@_with_job
@click.option("--format", "form", type=click.Choice(_FORMS), default="env", show_default=True, help="How to print.")
def show(*, fabric: str, form: str, **where: Any) -> None:
    """Print the variables of NCCL, RCCL, Gloo, UCX, libfabric, Open MPI, NVSHMEM and NIXL for FABRIC on this node.

    FABRIC is NAMESPACE/NAME, or NAME where that is one alone. Interfaces are matched exactly, the network is pinned so
    that a fall-back is an error, and a partition key is looked up in the table of each port. What no variable can say
    comes as remarks.
    """
    from ringfence.fabric.forms import FORMS

    click.echo(FORMS[form](_compiled(fabric, **where)), nl=False)


@env.command()
@click.argument("pids", nargs=-1, required=True, type=click.IntRange(min=1), metavar="PID...")
@click.option("--fabric", default="", metavar="FABRIC", help="The fabric; default: the only one.")
@_with_job
@list_options
def check(*, pids: tuple[int, ...], fabric: str, output: str, **where: Any) -> int:
    """Hold what processes were started with against what the fabric asks for: name every rank of the job on this node.

    Lists each variable that differs, is missing, or overrides another one, and whether traffic can leave the fabric by
    it. Looks at what each process was started with: what it sets itself later, or reads from nccl.conf, is not seen.
    Ends with 3 when there is any.
    """
    from ringfence.broker.fabric.started import environment
    from ringfence.fabric.compare import deviations

    wanted = _compiled(fabric, **where)
    found = [one for pid in pids for one in deviations(pid, environment(pid), wanted)]
    rows = [
        {
            "pid": one.pid,
            "variable": one.variable,
            "wrong": one.wrong.value,
            "wanted": one.wanted,
            "found": one.found,
            "leaves": "yes" if one.leaves else "no",
            "overrides": one.overrides,
        }
        for one in found
    ]
    if rows or output != "table":
        show_list("FabricDeviation", rows, columns=_COLUMNS, output=output, name="variable")
    else:
        count = f"{len(pids)} processes were" if len(pids) > 1 else "1 process was"
        click.echo(f"{count} started as fabric {wanted.fabric} asks for")
    return ANSWER_IS_NO if rows else OK


def _compiled(
    name: str,
    *,
    folder: Path,
    trust_domain: str | None,
    job: str,
    secret_file: Path | None,
    sys: Path,
    bootstrap: str,
) -> Environment:
    from datetime import UTC, datetime

    from ringfence.broker.cli.fabric_intent import fabric_of, job_of, model_of
    from ringfence.broker.fabric.sysfs import read_node
    from ringfence.fabric.environment import compile_environment
    from ringfence.fabric.magic import socket_magic

    if secret_file is not None and not job:
        raise click.UsageError("--secret-file is for the job that --job names")
    now = datetime.now(UTC)
    model = model_of(folder, trust_domain, now)
    fabric = fabric_of(model, name)
    key = job_of(model, fabric, job, now) if job else ""
    magic = socket_magic(secret_file.read_bytes(), key) if secret_file is not None else ""
    return compile_environment(fabric, read_node(sys), magic=magic, bootstrap=bootstrap)
