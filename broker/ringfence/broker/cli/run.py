"""`ringfence run -- CMD`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ringfence.broker.run.capture import Wanted


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
@click.option(
    "--capture", is_flag=True, help="Give CMD a network namespace from which everything leads to its proxy (root)."
)
@click.option("--netns", default="", metavar="PATH", help="With --capture: this namespace instead of a new one.")
@click.option(
    "--exclude-interface", multiple=True, metavar="NAME", help="With --netns: an interface of a fabric, left alone."
)
@click.option("--exclude-cidr", multiple=True, metavar="CIDR", help="With --netns: a network of a fabric, left alone.")
@click.option("--user", default="", metavar="NAME", help="With --capture: whom CMD runs as.  [default: you]")
@click.option("--isolate", is_flag=True, help="Behind walls: CMD sees nothing but its proxy. Takes no root.")
@click.option(
    "--share",
    multiple=True,
    type=click.Path(exists=True),
    metavar="PATH",
    help="With --isolate: a file or folder below /tmp or /run that CMD sees all the same.",
)
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
    isolate: bool,
    share: tuple[str, ...],
    capture: bool,
    netns: str,
    exclude_interface: tuple[str, ...],
    exclude_cidr: tuple[str, ...],
    user: str,
    command: tuple[str, ...],
) -> int:
    """Start a workload with its proxy and its identity, and end with its exit code."""
    if isolate:
        if proxyless:
            raise click.UsageError("--isolate leaves nothing but the proxy, and --proxyless has none")
        if capture:
            raise click.UsageError("--isolate and --capture each make a network namespace: name one of them")
        # Before anything starts a thread: the kernel gives namespaces to a process that has one.
        from ringfence.broker.run.isolate_enter import enter

        enter()
    elif share:
        raise click.UsageError("--share says what is seen with --isolate")
    environment = dict(os.environ)
    # Read once, when grpc is imported: its fork handlers crash a child that is forked while a call is open.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from ringfence.broker.run.launcher import Request, launch
    from ringfence.broker.run.plan import Who, socket_path
    from ringfence.xds.locality import Locality

    wanted = _capture(netns, exclude_interface, exclude_cidr, user, asked=capture, proxyless=proxyless)
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
            isolate=isolate,
            share=share,
            locality=Locality.parse(region, zone),
            capture=wanted,
        )
    )


def _capture(
    netns: str, interfaces: tuple[str, ...], networks: tuple[str, ...], user: str, *, asked: bool, proxyless: bool
) -> Wanted | None:
    """What --capture and the flags beside it ask for; a flag that would do nothing is refused, since it protects."""
    from ringfence.broker.run.capture import Wanted
    from ringfence.broker.run.capture_child import User
    from ringfence.broker.run.capture_exclusions import Exclusions

    if not asked and (netns or interfaces or networks or user):
        raise click.UsageError("--netns, --exclude-interface, --exclude-cidr and --user go with --capture")
    if (interfaces or networks) and not netns:
        raise click.UsageError("--exclude-interface and --exclude-cidr go with --netns: a new namespace has no fabric")
    if asked and proxyless:
        raise click.UsageError("--capture leads to a proxy, and with --proxyless there is none")
    exclusions = Exclusions.parse(interfaces, networks)
    return Wanted(netns, exclusions, User.named(user) if user else None) if asked else None
