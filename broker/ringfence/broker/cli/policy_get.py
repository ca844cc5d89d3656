"""`ringfence policy get`: the documents in force as the server holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.output import list_options, show_list

if TYPE_CHECKING:
    from ringfence.admin.v1 import admin_pb2

_COLUMNS = ("document", "place", "state", "applied")


@click.command()
@click.argument("kind", default="", metavar="[KIND]")
@click.argument("name", default="", metavar="[NAME]")
@with_admin
@list_options
def get(kind: str, name: str, socket: Where, output: str) -> None:
    """Show the documents in force, of one KIND or one alone, as the server holds them and with how they stand.

    KIND is that of the document in any case; NAME is NAMESPACE/NAME, or NAME where that is one alone. What was applied
    is printed as it was written, comments within it included, each with its file and line.
    """
    from ringfence.admin.v1 import admin_pb2
    from ringfence.certs.errors import Kind, RingfenceError

    asked = admin_pb2.ShowPolicyRequest(texts=True)
    answer = ask(socket, lambda server: server.ShowPolicy(asked, timeout=60))
    found = [one for one in answer.documents if _is(one.document, kind, name)]
    if kind and not found:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"no document in force is {kind} {name}".rstrip(),
            hint="`ringfence policy status` lists those that you may see",
        )
    if output in {"table", "wide"}:
        click.echo("---\n".join(_told(one, answer.revision) for one in found), nl=False)
    else:
        rows = [_row(one, answer.revision) for one in found]
        show_list("Document", rows, columns=_COLUMNS, output=output, name="document")


def _is(document: str, kind: str, name: str) -> bool:
    its_kind, _, key = document.partition(" ")
    return kind.lower() in {"", its_kind.lower()} and name in {"", key, key.rpartition("/")[2]}


def _told(one: admin_pb2.DocumentStatus, revision: str) -> str:
    """As YAML that may be applied again: what the server knows of it is a comment."""
    standing = f"{one.state}, applied on {one.applied} of {one.proxies}"
    text = one.text if one.text.endswith("\n") else f"{one.text}\n"
    return f"# {one.document} ({one.path}:{one.line}), revision {revision[:12]}: {standing}\n{text}"


def _row(one: admin_pb2.DocumentStatus, revision: str) -> dict[str, Any]:
    kind, _, key = one.document.partition(" ")
    return {
        "document": one.document,
        "kind": kind,
        "name": key,
        "place": f"{one.path}:{one.line}",
        "revision": revision,
        "state": one.state,
        "applied": f"{one.applied}/{one.proxies}",
        "text": one.text,
    }
