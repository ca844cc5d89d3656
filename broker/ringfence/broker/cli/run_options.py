"""The options of `ringfence run`, by what they are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def _with(*options: Command) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


with_workload = _with(
    click.option(
        "--socket",
        envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
        metavar="PATH",
        help="The agent's workload socket.",
    ),
    click.option(
        "--server",
        envvar="RINGFENCE_SERVER",
        metavar="HOST:PORT",
        help="The server, or several with commas; by default those of the agent.",
    ),
    click.option("--name", envvar="RINGFENCE_NAME", required=True, help="The workload's name in the intent."),
    click.option("--namespace", envvar="RINGFENCE_NAMESPACE", required=True, help="Its namespace."),
)

with_proxy = _with(
    click.option(
        "--inbound-host",
        envvar="RINGFENCE_INBOUND_HOST",
        default="127.0.0.1",
        show_default=True,
        help="Where its proxy listens for the mesh.",
    ),
    click.option("--envoy", envvar="RINGFENCE_ENVOY", metavar="PATH", help="The Envoy to use."),
    click.option(
        "--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="The proxy's workers."
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for each of agent, identity, server and proxy.",
    ),
    click.option(
        "--drain",
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        envvar="RINGFENCE_DRAIN",
        metavar="SECONDS",
        help="How long requests under way may take once TERM has come and callers know.",
    ),
    click.option(
        "--xds", type=click.Choice(["delta", "sotw"]), default="delta", show_default=True, help="How the proxy is fed."
    ),
    click.option("--region", default="", envvar="RINGFENCE_REGION", help="Where it runs.  [default: the agent's]"),
    click.option("--zone", default="", envvar="RINGFENCE_ZONE", help="The part of the region.  [default: the agent's]"),
    click.option("--proxyless", is_flag=True, help="No Envoy: CMD speaks xDS by its own gRPC library."),
)

with_capture = _with(
    click.option(
        "--capture", is_flag=True, help="Give CMD a network namespace from which everything leads to its proxy (root)."
    ),
    click.option("--netns", default="", metavar="PATH", help="With --capture: this namespace instead of a new one."),
    click.option(
        "--exclude-interface", multiple=True, metavar="NAME", help="With --netns: an interface of a fabric, left alone."
    ),
    click.option(
        "--exclude-cidr", multiple=True, metavar="CIDR", help="With --netns: a network of a fabric, left alone."
    ),
    click.option("--user", default="", metavar="NAME", help="With --capture: whom CMD runs as.  [default: you]"),
)

with_isolation = _with(
    click.option("--isolate", is_flag=True, help="Behind walls: CMD sees nothing but its proxy. Takes no root."),
    click.option(
        "--share",
        multiple=True,
        type=click.Path(exists=True),
        metavar="PATH",
        help="With --isolate: a file or folder below /tmp or /run that CMD sees all the same.",
    ),
)

with_fabric = _with(
    click.option(
        "--fabric",
        "fabrics",
        multiple=True,
        metavar="NAME",
        help="A fabric to take part on, NAMESPACE/NAME or NAME in its own namespace; CMD is told of it and kept to it.",
    ),
    click.option(
        "--job",
        default="",
        metavar="JOB",
        help="With --fabric: as which job, NAMESPACE/JOB or JOB in its own namespace.  [default: the one that it is]",
    ),
    click.option(
        "--secret-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="With --fabric: the secret, 16 bytes or more and the same on each node, for NCCL_SOCKET_MAGIC.",
    ),
    click.option(
        "--bootstrap",
        default="",
        metavar="NAME",
        help="With --fabric: an interface off it by which ranks find each other, where its own may not be used.",
    ),
    click.option(
        "--rank",
        type=click.IntRange(min=0),
        envvar="RINGFENCE_RANK",
        metavar="N",
        help="Of a workload that is a job, which rank (node) this is; torchrun's store is on 0, behind the proxies.",
    ),
    click.option(
        "--rendezvous",
        default="",
        metavar="PORT",
        help="With --rank: the served TCP port of rank 0 by which ranks meet.  [default: c10d, where CMD is torchrun]",
    ),
    click.option(
        "--store-closed",
        is_flag=True,
        envvar="RINGFENCE_STORE_CLOSED",
        help="With --rank: what cannot be seen from here, as a NetworkPolicy, keeps all others from rank 0's store.",
    ),
)
