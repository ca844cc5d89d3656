"""`ringfence authz`: ask the intent, explain a decision, follow decisions as they are made."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.admin_client import Where, admin_client, ask, find_server, with_admin, with_finders
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import heading, list_options, output_option, show_list, show_one

if TYPE_CHECKING:
    from ringfence.admin.v1 import admin_pb2

_COLUMNS = ("time", "decision", "source", "destination", "method", "requestPath", "rule", "where", "id")
_WIDTHS = (23, 8, 24, 24, 7, 32, 30, 28, 32)
_WORKLOAD = re.compile(r"^spiffe://[^/]+/ns/([^/]+)/(?:sa/([^/]+)|(job/[^/]+/rank/[^/]+))$")


@click.group()
def command() -> None:
    """Ask, explain and follow authorisation decisions."""


@command.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--port", default="", help="Name of the destination's port; may be left out where there is only one.")
@click.option("--method", default="", help="HTTP method.")
@click.option("--path", default="", help="HTTP path, as the caller would send it.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header line; may be repeated.")
@click.option(
    "--token",
    "tokens",
    multiple=True,
    metavar="ISSUER=CLAIMS",
    help="A valid token: NAMESPACE/NAME of its issuer, and its claims as JSON; may be repeated.",
)
@click.option("--address", default="", metavar="IP", help="Where the call comes from; without it no cidrs hold.")
@click.option("--intent", type=click.Path(exists=True, path_type=Path), help="Ask these documents, not a server.")
@click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
@with_finders
@output_option
def check(
    *,
    source: str,
    destination: str,
    port: str,
    method: str,
    path: str,
    headers: tuple[str, ...],
    tokens: tuple[str, ...],
    address: str,
    intent: Path | None,
    trust_domain: str | None,
    output: str,
    **finders: Any,
) -> int:
    """May SRC call DST? Ends with 0 when it may and with 3 when it may not.

    SRC and DST are SPIFFE IDs or NAMESPACE/NAME; DST may be a host outside, and SRC `plaintext`: a caller without
    mutual TLS.
    """
    from ringfence.admin.v1 import admin_pb2

    asked = admin_pb2.CheckAuthzRequest(
        source=source,
        destination=destination,
        port=port,
        method=method,
        path=path,
        headers=headers,
        tokens=tokens,
        address=address,
    )
    if intent is not None:
        decision = _offline(asked, intent, trust_domain)
    else:
        socket = find_server(finders)
        decision = ask(socket, lambda server: server.CheckAuthz(asked, timeout=10))
    _show(decision, output)
    return OK if decision.allowed else ANSWER_IS_NO


@command.command()
@click.argument("decision_id", metavar="ID")
@with_admin
@click.option(
    "--wait",
    type=click.FloatRange(0, 30),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="For a decision that was made just now: proxies report with a delay.",
)
@output_option
def explain(*, socket: Where, decision_id: str, wait: float, output: str) -> None:
    """Tell who decided what by which line of intent. ID is a trace id, a connection's id, or one that `tail` prints."""
    from ringfence.admin.v1 import admin_pb2
    from ringfence.certs.errors import Kind, RingfenceError

    asked = admin_pb2.ExplainAuthzRequest(id=decision_id.strip(), wait_ms=int(wait * 1000))
    found = ask(socket, lambda server: server.ExplainAuthz(asked, timeout=wait + 10)).decisions
    if not found:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"no decision {decision_id} is kept",
            hint="`ringfence authz tail --last 20` shows the last ones; a server keeps 10,000",
        )
    if output in {"table", "wide"}:
        from ringfence.broker.evidence.story import tell

        click.echo("\n\n".join(tell(decision) for decision in found))
    else:
        show_list("Decision", [_row(decision) for decision in found], columns=_COLUMNS, output=output, name="id")


@command.command()
@with_admin
@click.option("--follow", "-f", is_flag=True, help="Go on with those to come.")
@click.option("--denied", is_flag=True, help="Denials only.")
@click.option("--source", default="", help="SPIFFE ID or NAMESPACE/NAME.")
@click.option("--destination", default="", help="SPIFFE ID, NAMESPACE/NAME, or a host outside.")
@click.option("--rule", default="", help="NAMESPACE/NAME of a rule, or a named default such as default-deny.")
@click.option("--last", type=click.IntRange(0, 10_000), default=20, show_default=True, help="How many kept ones first.")
@list_options
def tail(
    *,
    socket: Where,
    follow: bool,
    denied: bool,
    source: str,
    destination: str,
    rule: str,
    last: int,
    output: str,
) -> None:
    """Show the last decisions, and with --follow those that proxies make from now on."""
    from ringfence.admin.v1 import admin_pb2

    asked = admin_pb2.TailAuthzRequest(
        follow=follow, denied_only=denied, source=source, destination=destination, rule=rule, last=last
    )
    asyncio.run(_follow(socket, asked, output) if follow else _last(socket, asked, output))


async def _last(socket: Where, asked: admin_pb2.TailAuthzRequest, output: str) -> None:
    async with admin_client(socket) as server:
        rows = [_row(decision) async for decision in server.TailAuthz(asked, timeout=30)]
    rows = [_short(row) for row in rows] if output == "table" else rows
    show_list("Decision", rows, columns=_COLUMNS, output=output, name="id")


async def _follow(socket: Where, asked: admin_pb2.TailAuthzRequest, output: str) -> None:
    """Rows as they come: a line each, in columns that do not wait for the widest."""
    table = output in {"table", "wide"}
    if table:
        click.echo(_line([heading(column) for column in _COLUMNS]))
    async with admin_client(socket) as server:
        async for decision in server.TailAuthz(asked):
            row = _row(decision)
            click.echo(_line([str(_short(row)[name]) for name in _COLUMNS]) if table else _one(row, output))


def _offline(asked: admin_pb2.CheckAuthzRequest, intent: Path, trust_domain: str | None) -> admin_pb2.Decision:
    from datetime import UTC, datetime

    from ringfence.broker.evidence.judge import Question, header_line, token_shown
    from ringfence.broker.evidence.offline import check_documents
    from ringfence.broker.intent_files import read_documents

    texts = [(document.path, document.text) for document in read_documents(intent)]
    headers = tuple(map(header_line, asked.headers))
    tokens = dict(map(token_shown, asked.tokens))
    question = Question(
        asked.source, asked.destination, asked.port, asked.method, asked.path, headers, tokens, asked.address
    )
    return check_documents(texts, question, trust_domain=trust_domain, now=datetime.now(UTC))


def _show(decision: admin_pb2.Decision, output: str) -> None:
    if output in {"table", "wide"}:
        from ringfence.broker.evidence.story import tell

        click.echo(tell(decision))
    else:
        show_one("Decision", _row(decision), output=output, name="id")


def _row(decision: admin_pb2.Decision) -> dict[str, Any]:
    """A decision as the JSON that scripts read (docs/evidence.md); empty fields are there too."""
    from ringfence.broker.evidence.story import moment, place

    fields: dict[str, Any] = {field.json_name: getattr(decision, field.name) for field in decision.DESCRIPTOR.fields}
    return {
        **fields,
        "attributes": dict(decision.attributes),
        "decision": "allow" if decision.allowed else "deny",
        "where": place(decision),
        "time": moment(decision.time_ns),
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """As `authz check` takes names, so that a line fits a screen: NAMESPACE/NAME where the ID says no more.

    And of a rank NAMESPACE/job/JOB/rank/N.
    """
    names = {side: _WORKLOAD.sub(r"\1/\2\3", str(row[side])) for side in ("source", "destination")}
    return {**row, **names}


def _one(row: dict[str, Any], output: str) -> str:
    return str(row["id"]) if output == "name" else json.dumps(row)


def _line(cells: list[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
