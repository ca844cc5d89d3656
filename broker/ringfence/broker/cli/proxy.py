"""`ringfence proxy`."""

from __future__ import annotations

from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import list_options, show_list

_COLUMNS = ("spiffeId", "node", "state", "revision", "detail")
_REVISION_DIGITS = 12


@click.group()
def command() -> None:
    """Show what every proxy holds."""


@command.command()
@with_admin
@list_options
def status(socket: Where, output: str) -> int:
    """Show every connected proxy: SYNCED, STALE, or NACK with the document and line that it refuses.

    Ends with 3 when any proxy refuses its configuration.
    """
    from ringfence.admin.v1 import admin_pb2

    answer = ask(socket, lambda server: server.ListProxies(admin_pb2.ListProxiesRequest(), timeout=30))
    rows = [_row(proxy, short=output in {"table", "wide"}) for proxy in answer.proxies]
    show_list("ProxyStatus", rows, columns=_COLUMNS, output=output, name="node")
    return ANSWER_IS_NO if any(row["state"] == "NACK" for row in rows) else OK


def _row(proxy: Any, *, short: bool) -> dict[str, Any]:
    return {
        "spiffeId": proxy.spiffe_id,
        "node": proxy.node,
        "state": proxy.state,
        "revision": proxy.revision[:_REVISION_DIGITS] if short else proxy.revision,
        "region": proxy.region,
        "zone": proxy.zone,
        "inbound": list(proxy.inbound),
        "detail": proxy.detail,
    }
