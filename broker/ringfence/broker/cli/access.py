"""`ringfence access`: whom the server takes this caller for, and what that caller may do."""

from __future__ import annotations

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.failure import ANSWER_IS_NO
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one

_COLUMNS = ["call", "allowed", "role", "reach"]


@click.group()
def command() -> None:
    """Ask who you are to the server, and what you may do."""


@command.command()
@with_admin
@output_option
def whoami(socket: Where, output: str) -> None:
    """Say whom the server takes this caller for, and which roles that gives."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found = ask(socket, lambda server: server.DescribeCaller(pb.DescribeCallerRequest(), timeout=10))
    row = {
        "subject": found.subject,
        "admin": found.admin,
        "edits": list(found.edits),
        "views": ["*"] if found.views_all else list(found.views),
        "because": list(found.because),
    }
    show_one("Caller", row, output=output, name="subject")


@command.command("can-i")
@click.argument("call")
@with_admin
@click.option("--namespace", default="", help="On what is in this namespace.  [default: on anything at all]")
@output_option
def can_i(socket: Where, call: str, namespace: str, output: str) -> None:
    """Exit 0 when this caller may make CALL (CreateEntries, or its command: "entry create"), 3 when not."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.CheckAccessRequest(method=_call(call), namespace=namespace)
    found = ask(socket, lambda server: server.CheckAccess(asked, timeout=10))
    row = {"call": asked.method, "namespace": namespace, "allowed": found.allowed, "detail": found.detail}
    show_one("Access", row, output=output, name="allowed")
    if not found.allowed:
        raise click.exceptions.Exit(ANSWER_IS_NO)


@command.command("list")
@with_admin
@list_options
def list_(socket: Where, output: str) -> None:
    """List every call of the admin API, the role it takes, and whether this caller may make it at all."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.access.rights import Rights
    from ringfence.broker.access.table import NEEDS, allowed

    found = ask(socket, lambda server: server.DescribeCaller(pb.DescribeCallerRequest(), timeout=10))
    rights = Rights(found.admin, frozenset(found.edits), frozenset(found.views), found.views_all)
    rows = [
        {
            "call": name,
            "allowed": allowed(need, rights),
            "role": need.role.value,
            "reach": need.scope.value,
            "commands": list(need.commands),
        }
        for name, need in NEEDS.items()
    ]
    show_list("Access", rows, columns=_COLUMNS, output=output, name="call")


def _call(text: str) -> str:
    """The call of a command; a call itself."""
    from ringfence.broker.access.table import NEEDS

    return next((name for name, need in NEEDS.items() if text in need.commands), text)
