"""`ringfence proxy`: what proxies are, hold, and differ in from what they were sent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import list_options, show_list
from ringfence.broker.cli.times import rfc3339

_COLUMNS = ("spiffeId", "node", "state", "revision", "age", "detail")
_HELD = ("type", "name", "state", "summary")
_REVISION_DIGITS = 12
_SECRETS = "secret-names"
_TYPES = ("listener", "cluster", "route", "endpoint", "policy", _SECRETS)  # as ringfence.xds.readable names them
_NAME = click.argument("name", metavar="NODE|WORKLOAD")


@click.group()
def command() -> None:
    """Show what every proxy holds."""


@command.command()
@with_admin
@list_options
def status(socket: Where, output: str) -> int:
    """Show every connected proxy: SYNCED, STALE, or NACK with the document and line that it refuses.

    Ends with 3 when any proxy refuses its configuration. A server knows the proxies that are connected to it.
    """
    from ringfence.admin.v1 import admin_pb2

    answer = ask(socket, lambda server: server.ListProxies(admin_pb2.ListProxiesRequest(), timeout=30))
    rows = [_row(proxy, short=output in {"table", "wide"}) for proxy in answer.proxies]
    show_list("ProxyStatus", rows, columns=_COLUMNS, output=output, name="node")
    return ANSWER_IS_NO if any(row["state"] == "NACK" for row in rows) else OK


@command.command()
@_NAME
@click.option("--type", "kind", type=click.Choice(_TYPES), help="Only these.  [default: all but secret-names]")
@with_admin
@list_options
def config(name: str, kind: str | None, socket: Where, output: str) -> None:
    """Show what the server sent to a proxy, and what the proxy said of it.

    A NODE is that of `proxy status`; a SPIFFE ID, NAMESPACE/WORKLOAD or NAMESPACE means all their proxies. -o json and
    yaml show everything, the others a line each. There is no secret in it: `--type secret-names` shows by which names
    the proxy asks its agent for them.
    """
    from ringfence.broker.cli.proxy_config import resources_of, secrets_of

    proxies = _dump(socket, name)
    if kind == _SECRETS:
        show_list("SecretName", secrets_of(proxies), columns=("node", "name"), output=output, name="name")
        return
    rows = resources_of(proxies, kind, whole=output in {"json", "yaml", "jsonl"})
    columns = _HELD if len(proxies) == 1 else ("node", *_HELD)
    show_list("ProxyConfig", rows, columns=columns, output=output, name="name")


@command.command()
@_NAME
@click.option("--envoy-admin", type=click.Path(path_type=Path), help="Admin socket of the Envoy.  [default: found]")
@with_admin
@list_options
def diff(name: str, envoy_admin: Path | None, socket: Where, output: str) -> int:
    """Compare what the server sent with what the Envoy holds: on its host, as the user who started `ringfence run`.

    Ends with 3 when they differ.
    """
    from ringfence.broker.cli.proxy_diff import differences_of

    proxies = _dump(socket, name)
    rows = [row for proxy in proxies for row in differences_of(proxy, envoy_admin)]
    if rows or output not in {"table", "wide"}:
        show_list("Difference", rows, columns=("type", "name", "difference"), output=output, name="name")
    else:
        click.echo("no difference")
    return ANSWER_IS_NO if rows else OK


@command.command()
@click.argument("revision")
@click.option("--for", "names", multiple=True, metavar="NODE|WORKLOAD", help="Only these, which must be connected.")
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="0 waits for as long as it takes.")
@with_admin
def wait(revision: str, names: tuple[str, ...], timeout: int, socket: Where) -> int:
    """Wait until every proxy of the server, or each that is named, holds REVISION of the intent.

    REVISION, or its first digits, is that of `policy apply`. Ends with 6 after the timeout, and with 3 as soon as one
    of them refuses it.
    """
    from ringfence.broker.cli.proxy_wait import wait as wait_for

    return wait_for(socket, revision, names, timeout)


def _dump(socket: Where, name: str) -> list[Any]:
    from ringfence.admin.v1 import admin_pb2

    answer = ask(socket, lambda server: server.ShowProxies(admin_pb2.ShowProxiesRequest(name=name), timeout=60))
    return list(answer.proxies)


def _row(proxy: Any, *, short: bool) -> dict[str, Any]:
    return {
        "spiffeId": proxy.spiffe_id,
        "node": proxy.node,
        "state": proxy.state,
        "revision": proxy.revision[:_REVISION_DIGITS] if short else proxy.revision,
        **({"age": _age(proxy.connected_at), "answered": _age(proxy.answered_at)} if short else _times(proxy)),
        "region": proxy.region,
        "zone": proxy.zone,
        "inbound": list(proxy.inbound),
        "detail": proxy.detail,
    }


def _times(proxy: Any) -> dict[str, str]:
    named = {"connectedAt": proxy.connected_at, "answeredAt": proxy.answered_at}
    return {name: rfc3339(at) if at else "" for name, at in named.items()}


def _age(at: int) -> str:
    """How long ago that was, in one unit: `42s`, `7m`, `3h`, `2d`; nothing for never."""
    if not at:
        return ""
    seconds = max(int(time.time()) - at, 0)
    sizes = (("d", 86400), ("h", 3600), ("m", 60))
    return next((f"{seconds // size}{unit}" for unit, size in sizes if seconds >= 2 * size), f"{seconds}s")
