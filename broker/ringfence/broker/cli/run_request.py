"""What the options of `ringfence run` ask for together; an option that would do nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.run_rank import rank_of
from ringfence.broker.run.capture import Wanted
from ringfence.broker.run.capture_child import User
from ringfence.broker.run.capture_exclusions import Exclusions
from ringfence.broker.run.launcher import Request
from ringfence.broker.run.plan import Who, socket_path
from ringfence.xds.locality import Locality


def request_of(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    socket: str | None,
    server: str | None,
    name: str,
    namespace: str,
    envoy: str | None,
    timeout: float,
    xds: str,
    region: str,
    zone: str,
    capture: bool,
    proxyless: bool,
    netns: str,
    exclude_interface: tuple[str, ...],
    exclude_cidr: tuple[str, ...],
    user: str,
    isolate: bool,
    fabrics: tuple[str, ...],
    job: str,
    secret_file: Path | None,
    bootstrap: str,
    rank: int | None,
    rendezvous: str,
    store_closed: bool,
    **plain: Any,
) -> Request:
    """The request; *plain* are the options that it has under their own names. Raises INVALID, or click's own errors."""
    return Request(
        Who(namespace, name, rank),
        command,
        environment,
        socket_path(socket or ""),
        server=server or "",
        envoy=envoy or "",
        patience=timeout,
        state_of_the_world=xds == "sotw",
        proxyless=proxyless,
        locality=Locality.parse(region, zone),
        capture=_capture(netns, exclude_interface, exclude_cidr, user, asked=capture, proxyless=proxyless),
        isolate=isolate,
        rank=rank_of(
            command,
            namespace,
            fabrics=fabrics,
            job=job,
            secret_file=secret_file,
            bootstrap=bootstrap,
            rank=rank,
            rendezvous=rendezvous,
            store_closed=store_closed,
            no_fabric=_no_fabric(isolate=isolate, capture=capture, netns=netns),
            proxyless=proxyless,
        ),
        **plain,
    )


def _no_fabric(*, isolate: bool, capture: bool, netns: str) -> str:
    """Why no fabric reaches the command; empty where one may."""
    if isolate:
        return "--isolate leaves nothing but the proxy, and no fabric"
    if capture and not netns:
        return "--fabric with --capture takes --netns, the namespace that has it: a new one has none"
    return ""


def _capture(
    netns: str, interfaces: tuple[str, ...], networks: tuple[str, ...], user: str, *, asked: bool, proxyless: bool
) -> Wanted | None:
    """What --capture and the flags beside it ask for; a flag that would do nothing is refused, since it protects."""
    if not asked and (netns or interfaces or networks or user):
        raise click.UsageError("--netns, --exclude-interface, --exclude-cidr and --user go with --capture")
    if (interfaces or networks) and not netns:
        raise click.UsageError("--exclude-interface and --exclude-cidr go with --netns: a new namespace has no fabric")
    if asked and proxyless:
        raise click.UsageError("--capture leads to a proxy, and with --proxyless there is none")
    exclusions = Exclusions.parse(interfaces, networks)
    return Wanted(netns, exclusions, User.named(user) if user else None) if asked else None
