"""The active tier of `ringfence fabric doctor`: its options, what it says before it sends, and the other end."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.duration import DURATION

if TYPE_CHECKING:
    from ringfence.fabric.doctor.evidence import Declared
    from ringfence.fabric.doctor.probe import Probe

_PORT = 50000
_MOST = 16  # pairs of a peer and an interface in one go
_MOST_SECONDS = 600
_MIB = 1 << 20
_DEVICE = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


def with_probe(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--active` and what bounds it."""
    for option in (
        click.option(
            "--ib-write-bw",
            "device",
            default="",
            metavar="DEV",
            help="Active: run it by that device; start it on the peer.",
        ),
        click.option(
            "--probe-mib",
            type=click.IntRange(1, 1024),
            default=64,
            show_default=True,
            metavar="MIB",
            help="Active: the most that goes to a responder.",
        ),
        click.option(
            "--probe-port",
            type=click.IntRange(1, 65535),
            default=_PORT,
            show_default=True,
            help="Active: of the responder, one of the fabric's ports.",
        ),
        click.option("--active", is_flag=True, help="Send to each --peer as well, within bounds that are told before."),
    ):
        command = option(command)
    return command


def probed(given: dict[str, Any], declared: Declared) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """What each peer answered by each interface, and notes; what may be sent and what was is told on stderr."""
    from ringfence.broker.fabric.probe import Prober, line_rate, link_mtu
    from ringfence.fabric.doctor.probe import Budget

    pairs = [(peer, interface) for peer in given["peers"] for interface in declared.interfaces]
    _check(pairs, given["device"])
    probes: list[Probe] = []
    notes: list[str] = []
    for peer, interface in pairs:
        mtu = min(declared.mtu or link_mtu(interface), 65535)
        ports = tuple(sorted(declared.rendezvous_ports - {given["probe_port"]}))
        budget = Budget(ports, mtu, given["probe_mib"] * _MIB, device=given["device"])
        click.echo(f"to {peer} by {interface}, at most: {budget}", err=True)
        found, spent, unknown = Prober(peer, interface, budget).probe(given["probe_port"], line_rate(interface))
        click.echo(f"to {peer} by {interface}, sent: {spent}", err=True)
        probes.append(found)
        notes += unknown
    return tuple(probes), tuple(notes)


def _check(pairs: list[tuple[str, str]], device: str) -> None:
    if not pairs:
        raise click.UsageError("--active needs a --peer, and an interface of the fabric: --interface, or --dir")
    if len(pairs) > _MOST:
        raise click.UsageError(f"--active takes {_MOST} pairs of a peer and an interface at once, not {len(pairs)}")
    for peer, _ in pairs:
        address_of(peer, "--peer")
    if device and not _DEVICE.fullmatch(device):
        raise click.BadParameter(f"{device!r} is no device of RDMA", param_hint="--ib-write-bw")


def address_of(text: str, option: str) -> str:
    """The one spelling of an IP address; raises BadParameter."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no IP address", param_hint=option) from None


@click.command()
@click.option("--listen", "address", required=True, metavar="IP", help="This node's own address on the fabric.")
@click.option("--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True, help="One of the fabric's.")
@click.option("--peer", required=True, metavar="IP", help="Who is answered, and nobody else.")
@click.option("--for", "seconds", type=DURATION, default="30s", show_default=True, help="For how long, 10m at most.")
def respond(*, address: str, port: int, peer: str, seconds: int) -> None:
    """Be the other end of `ringfence fabric doctor --active` on the peer: swallow what it sends, and say how much.

    Listens on one address, for a while, and answers one peer. Echo requests are answered by the kernel, without this.
    """
    from ringfence.broker.fabric.respond import listening
    from ringfence.broker.fabric.respond import respond as responding

    if not 0 < seconds <= _MOST_SECONDS:
        raise click.BadParameter(f"{seconds} s is not within 1 s to 10 m", param_hint="--for")
    own, caller = address_of(address, "--listen"), address_of(peer, "--peer")
    if ip_address(own).is_unspecified:
        raise click.BadParameter(f"{own} is every address: name the one on the fabric", param_hint="--listen")
    with listening(own, port) as server:
        click.echo(f"answering {caller} at {own}, port {port}, for {seconds} s", err=True)
        answered = responding(server, caller, seconds)
    click.echo(f"{answered} probes were answered")
