"""`ringfence run -- CMD`."""

from __future__ import annotations

import os
from typing import Any

import click

from ringfence.broker.cli.run_options import with_capture, with_fabric, with_isolation, with_proxy, with_workload


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@with_workload
@with_proxy
@with_capture
@with_isolation
@with_fabric
@click.argument("command", metavar="-- CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(*, command: tuple[str, ...], isolate: bool, share: tuple[str, ...], **asked: Any) -> int:
    """Start a workload with its proxy and its identity, and end with its exit code."""
    if isolate:
        if asked["proxyless"]:
            raise click.UsageError("--isolate leaves nothing but the proxy, and --proxyless has none")
        if asked["capture"]:
            raise click.UsageError("--isolate and --capture each make a network namespace: name one of them")
        # Before anything starts a thread: the kernel gives namespaces to a process that has one.
        from ringfence.broker.run.isolate_enter import enter

        enter()
    elif share:
        raise click.UsageError("--share says what is seen with --isolate")
    environment = dict(os.environ)
    # Read once, when grpc is imported: its fork handlers crash a child that is forked while a call is open.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from ringfence.broker.cli.run_request import request_of
    from ringfence.broker.run.launcher import launch

    return launch(request_of(command, environment, isolate=isolate, share=share, **asked))
