"""The `ringfence` command: finds the sub-command's file only when it is asked for, and turns failures into words."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module

import click

from ringfence.broker.cli.config_file import add_config
from ringfence.broker.cli.failure import exit_code, explain_failure

# Noun to (module, one line of help). Importing a noun may cost 100 ms of grpc, so --help imports none of them.
NOUNS = {
    "access": ("access", "Ask who you are to the server, and what you may do."),
    "agent": ("agent", "Run and check the agent of a node."),
    "audit": ("audit", "Show, follow and verify the audit log."),
    "authority": ("authority", "Show authorities and take the steps of their life."),
    "authz": ("authz", "Ask, explain and follow authorisation decisions."),
    "bundle": ("bundle", "Show the trust bundle, and keep those of others."),
    "demo": ("demo", "Run the whole story on this machine."),
    "egress": ("egress", "See what tried to leave the mesh."),
    "entry": ("entry", "Create, list, change, apply and explain registration entries."),
    "fabric": ("fabric", "Keep collectives on their fabric."),
    "federation": ("federation", "Federate with other trust domains."),
    "graph": ("graph", "Ask who reaches whom, by which way."),
    "grpc-bootstrap": ("grpc_bootstrap", "Write what a gRPC library without a proxy is told."),
    "identity": ("identity", "List, show and explain the identities that were given."),
    "node": ("node", "List, evict and ban nodes."),
    "policy": ("policy", "Validate and apply intent documents."),
    "proxy": ("proxy", "Show what every proxy holds."),
    "run": ("run", "Start a workload with its proxy and its identity."),
    "server": ("server", "Run and check the control plane."),
    "slurm": ("slurm", "Give the jobs of a Slurm cluster their identities."),
    "svid": ("svid", "Fetch this process's own identity documents."),
    "token": ("token", "Make join tokens for agents."),
    "version": ("version", "Print the version."),
}


class Nouns(click.Group):
    """A group whose sub-commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Every noun, in order."""
        return sorted(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The noun's command, from `ringfence.broker.cli.NOUN:command`."""
        if cmd_name not in NOUNS:
            return None
        command: click.Command = import_module(f"ringfence.broker.cli.{NOUNS[cmd_name][0]}").command
        return add_config(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest noun for one that is not there: it would look among the imported ones."""
        if args and not args[0].startswith("-") and args[0] not in NOUNS:
            close = get_close_matches(args[0], NOUNS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of nouns, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(noun, text) for noun, (_, text) in sorted(NOUNS.items())])


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  # click's signature
    if wanted:
        from importlib.metadata import version

        click.echo(version("ringfence"))
        context.exit()


@click.command(cls=Nouns, context_settings={"auto_envvar_prefix": "RINGFENCE", "max_content_width": 120})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it.")
def cli() -> None:
    """Identity, policy, proxies and evidence for machine-learning clusters."""


def main() -> None:
    """Run the command line; every failure ends as one message on stderr and a documented exit code."""
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001  # the last edge: no traceback reaches a user
        click.echo(explain_failure(error), err=True)
        sys.exit(exit_code(error))
