"""`ringfence policy`: check intent documents and put them in force."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.failure import ANSWER_IS_NO, INVALID_INPUT, OK
from ringfence.broker.cli.output import API_VERSION, list_options, output_option, show_list, show_one
from ringfence.broker.cli.policy_check import check
from ringfence.broker.cli.policy_get import get

_FINDING = ("code", "level", "path", "line", "column", "message", "hint")
_STATUS = ("document", "place", "state", "applied", "refused")
_DOCUMENTS = click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="DIR")


@click.group()
def command() -> None:
    """Validate and apply intent documents."""


@command.command()
@_DOCUMENTS
@click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
@output_option
def validate(path: Path, trust_domain: str | None, output: str) -> None:
    """Say everything that is wrong with the documents in DIR, without a server."""
    from datetime import UTC, datetime

    from ringfence.broker.intent_files import read_documents
    from ringfence.policy.load import load_documents

    texts = [(document.path, document.text) for document in read_documents(path)]
    loaded = load_documents(texts, default_trust_domain=trust_domain, now=datetime.now(UTC))
    revision = loaded.model.revision if loaded.model is not None else ""
    _show({"revision": revision}, _findings(loaded.findings, path), [], output)


@command.command()
@_DOCUMENTS
@with_admin
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--wait", is_flag=True, help="Return when every proxy of the server holds it, as `proxy wait` does.")
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="Of --wait; 0 for none.")
@output_option
def apply(path: Path, socket: Where, dry_run: bool, wait: bool, timeout: int, output: str) -> int:  # noqa: FBT001  # click flags
    """Make the documents in DIR the intent in force: all of them, or none if any has an error."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.intent_files import authorship, read_documents

    author, commit = authorship(path)
    documents = [pb.Document(path=document.path, text=document.text) for document in read_documents(path)]
    request = pb.ApplyPolicyRequest(documents=documents, dry_run=dry_run, author=author, commit=commit)
    done = ask(socket, lambda server: server.ApplyPolicy(request, timeout=60))
    changes = [{"document": change.document, "action": change.action} for change in done.changes]
    facts = {"revision": done.revision, "proxies": done.proxies, "dryRun": dry_run}
    _show(facts, _findings(done.findings, path), changes, output)
    if dry_run or not wait:
        return OK
    from ringfence.broker.cli.proxy_wait import wait as wait_for

    return wait_for(socket, done.revision, (), timeout)


@command.command()
@click.argument("documents", nargs=-1, metavar="[NAMESPACE/NAME]...")
@with_admin
@list_options
def status(documents: tuple[str, ...], socket: Where, output: str) -> int:
    """Show on how many proxies each document in force is applied, and which of them refuse it and why.

    Applied: by every connected proxy that it concerns. Pending: some have not answered yet. Refused: some go on with
    what it said before, or without it. Unused: it concerns no connected proxy. Ends with 3 when any is Refused. A
    server counts the proxies that are connected to it.
    """
    from ringfence.admin.v1 import admin_pb2 as pb

    answer = ask(socket, lambda server: server.ShowPolicy(pb.ShowPolicyRequest(), timeout=60))
    wanted = [one for one in answer.documents if not documents or one.document.partition(" ")[2] in documents]
    rows = [_standing(one) for one in wanted]
    show_list("DocumentStatus", rows, columns=_STATUS, output=output, name="document")
    return ANSWER_IS_NO if any(one.state == "Refused" for one in wanted) else OK


def _standing(one: Any) -> dict[str, Any]:
    return {
        "document": one.document,
        "place": f"{one.path}:{one.line}",
        "state": one.state,
        "applied": f"{one.applied}/{one.proxies}",
        "refused": dict(sorted(one.refused.items())),
    }


command.add_command(check)
command.add_command(get)


@command.command()
def schema() -> None:
    """Print the JSON Schema of intent documents, for editors."""
    from ringfence.policy.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _findings(found: Iterable[Any], path: Path) -> list[dict[str, Any]]:
    """As rows; what is about all the documents together is told of the folder."""
    rows = [{name: getattr(finding, name) for name in _FINDING} for finding in found]
    return [row if row["path"] else {**row, "path": str(path)} for row in rows]


def _show(facts: dict[str, Any], findings: list[dict[str, Any]], changes: list[dict[str, Any]], output: str) -> None:
    failed = any(finding["level"] == "error" for finding in findings)
    if output in {"json", "yaml"}:
        body = {"apiVersion": API_VERSION, "kind": "PolicyReport", "valid": not failed, **facts}
        show_one("PolicyReport", {**body, "changes": changes, "findings": findings}, output=output, name="kind")
    elif output == "jsonl":
        for finding in findings:
            click.echo(json.dumps(finding))
    else:
        for finding in findings:
            place = f"{finding['path']}:{finding['line']}:{finding['column']}: {finding['level']}"
            click.echo(f"{place} {finding['code']}: {finding['message']}. {finding['hint']}", err=True)
        if changes:
            show_list("Change", changes, columns=["document", "action"], output=output, name="document")
        elif not failed and output != "name":
            click.echo(f"valid, revision {facts['revision']}")
    if failed:
        raise click.exceptions.Exit(INVALID_INPUT)
