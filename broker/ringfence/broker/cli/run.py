"""`ringfence run -- CMD`."""

from __future__ import annotations

import os

import click


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "--socket",
    envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
    metavar="PATH",
    help="The agent's workload socket.",
)
@click.option(
    "--server",
    envvar="RINGFENCE_SERVER",
    metavar="HOST:PORT",
    help="The server, or several with commas; by default those of the agent.",
)
@click.option("--name", envvar="RINGFENCE_NAME", required=True, help="The workload's name in the intent.")
@click.option("--namespace", envvar="RINGFENCE_NAMESPACE", required=True, help="Its namespace.")
@click.option(
    "--inbound-host",
    envvar="RINGFENCE_INBOUND_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Where its proxy listens for the mesh.",
)
@click.option("--envoy", envvar="RINGFENCE_ENVOY", metavar="PATH", help="The Envoy to use.")
@click.option("--concurrency", type=click.IntRange(min=1), default=1, show_default=True, help="The proxy's workers.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each of agent, identity, server and proxy.",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    envvar="RINGFENCE_DRAIN",
    metavar="SECONDS",
    help="How long requests under way may take once TERM has come and callers know.",
)
@click.option(
    "--xds", type=click.Choice(["delta", "sotw"]), default="delta", show_default=True, help="How the proxy is fed."
)
@click.option("--region", default="", envvar="RINGFENCE_REGION", help="Where it runs.  [default: the agent's]")
@click.option("--zone", default="", envvar="RINGFENCE_ZONE", help="The part of the region.  [default: the agent's]")
@click.option("--proxyless", is_flag=True, help="No Envoy: CMD speaks xDS by its own gRPC library.")
@click.argument("command", metavar="-- CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    *,
    socket: str | None,
    server: str | None,
    name: str,
    namespace: str,
    inbound_host: str,
    envoy: str | None,
    concurrency: int,
    timeout: float,
    drain: float,
    xds: str,
    region: str,
    zone: str,
    proxyless: bool,
    command: tuple[str, ...],
) -> int:
    """Start a workload with its proxy and its identity, and end with its exit code."""
    environment = dict(os.environ)
    # Read once, when grpc is imported: its fork handlers crash a child that is forked while a call is open.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from ringfence.broker.run.launcher import Request, launch
    from ringfence.broker.run.plan import Who, socket_path
    from ringfence.xds.locality import Locality

    return launch(
        Request(
            Who(namespace, name),
            command,
            environment,
            socket_path(socket or ""),
            server=server or "",
            envoy=envoy or "",
            inbound_host=inbound_host,
            patience=timeout,
            drain=drain,
            concurrency=concurrency,
            state_of_the_world=xds == "sotw",
            proxyless=proxyless,
            locality=Locality.parse(region, zone),
        )
    )
