"""`ringfence svid`: fetch what the agent gives to this very process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.output import output_option, show_list
from ringfence.broker.cli.svid_write import write

if TYPE_CHECKING:
    from ringfence.broker.agent.fetching import FetchedSvid

_FETCH_OPTIONS = (
    click.option(
        "--socket",
        required=True,
        envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
        help="The agent's socket: a path, or unix:///PATH.",
    ),
    click.option("--timeout", default=35.0, show_default=True, help="Seconds to wait."),
    click.option(
        "--write", type=click.Path(file_okay=False, path_type=Path), help="Folder for the files; keys are written 0600."
    ),
    output_option,
)
_id_option: Callable[[Any], Any] = click.option(
    "--spiffe-id", default="", help="Which of this process's identities; default: all."
)


def _fetch_options(command: Any) -> Any:
    """Adds what every way of fetching is told: from where, how long to wait, whereto, and how to print."""
    for option in reversed(_FETCH_OPTIONS):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Fetch this process's own identity documents."""


command.add_command(write)


@command.group()
def fetch() -> None:
    """Ask the agent for this process's SVIDs."""


@fetch.command()
@_fetch_options
def x509(socket: str, timeout: float, write: Path | None, output: str) -> None:
    """Fetch the X.509-SVIDs, their keys and the trust bundles."""
    import asyncio

    from ringfence.broker.agent.fetching import fetch_x509

    _show_x509(asyncio.run(fetch_x509(socket, timeout)), write, output)


@fetch.command()
@_fetch_options
@click.option("--audience", multiple=True, required=True, help="Who is to accept the token; may be repeated.")
@_id_option
def jwt(
    socket: str, timeout: float, write: Path | None, output: str, audience: tuple[str, ...], spiffe_id: str
) -> None:
    """Fetch JWT-SVIDs for an audience."""
    import asyncio

    from ringfence.broker.agent.fetching import fetch_jwt, write_jwt

    found = asyncio.run(fetch_jwt(socket, audience, spiffe_id, timeout))
    if write is not None:
        _name(write_jwt(found, write))
        return
    show_list("JwtSvid", found, columns=("spiffe_id", "svid"), output=output, name="spiffe_id")


@fetch.command()
@_fetch_options
@_id_option
def wit(socket: str, timeout: float, write: Path | None, output: str, spiffe_id: str) -> None:
    """Fetch WIT-SVIDs and their private keys, of an agent with --feature wit-svid."""
    import asyncio

    from ringfence.broker.agent.fetching import fetch_wit, write_wit

    found = asyncio.run(fetch_wit(socket, spiffe_id, timeout))
    if write is not None:
        _name(write_wit(found, write))
        return
    rows = _public(found, ("spiffe_id", "hint", "wit_svid"), output)
    show_list("WitSvid", rows, columns=("spiffe_id", "wit_svid"), output=output, name="spiffe_id")


@command.command("fetch-for")
@click.argument("pid", type=int)
@click.option(
    "--broker-api",
    required=True,
    envvar="SPIFFE_BROKER_SOCKET",
    help="The agent's Broker API: unix:///PATH or tcp://HOST:PORT.",
)
@click.option("--agent-id", required=True, help="SPIFFE ID that the agent has to prove.")
@_fetch_options
def fetch_for(
    pid: int, broker_api: str, agent_id: str, socket: str, timeout: float, write: Path | None, output: str
) -> None:
    """Fetch, as a broker, the X.509-SVIDs of another process of the agent's node."""
    import asyncio

    from ringfence.broker.broker_api.client import fetch_x509_for
    from ringfence.certs.broker_address import BrokerAddress
    from ringfence.certs.spiffe_id import SpiffeId

    address, agent = BrokerAddress.parse(broker_api), SpiffeId.parse(agent_id)
    _show_x509(asyncio.run(fetch_x509_for(pid, address, agent, socket, timeout)), write, output)


def _show_x509(found: Sequence[FetchedSvid], write: Path | None, output: str) -> None:
    """Into files below *write*, or on the screen."""
    from ringfence.broker.agent.fetching import write_x509

    if write is not None:
        _name(write_x509(found, write))
        return
    columns = ("spiffe_id", "expires_at", "hint")
    rows = _public([svid.row() for svid in found], columns, output)
    show_list("X509Svid", rows, columns=columns, output=output, name="spiffe_id")


def _name(written: Sequence[Path]) -> None:
    for path in written:
        click.echo(path)


def _public(rows: Sequence[dict[str, Any]], fields: Sequence[str], output: str) -> Sequence[dict[str, Any]]:
    """What is shown of *rows*: private keys only in the forms that programs read."""
    return rows if output in {"json", "jsonl", "yaml"} else [{name: row[name] for name in fields} for row in rows]
