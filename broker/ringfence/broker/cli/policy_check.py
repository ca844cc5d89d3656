"""`ringfence policy check`: everything about the documents that is wrong, worth a look, or permitted and a risk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.broker.cli.failure import ANSWER_IS_NO, INVALID_INPUT, OK
from ringfence.broker.cli.output import API_VERSION

if TYPE_CHECKING:
    from ringfence.policy.findings import Finding

_FORMATS = ("text", "json", "jsonl", "sarif", "junit")


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="DIR")
@click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
@click.option(
    "--fail-on",
    type=click.Choice(("error", "warning", "info")),
    default="error",
    show_default=True,
    help="From which level on it ends with 3; with an error it ends with 4.",
)
@click.option("-o", "--output", type=click.Choice(_FORMATS), default="text", show_default=True, help="How to print.")
def check(path: Path, trust_domain: str | None, fail_on: str, output: str) -> int:
    """List all that `validate` says of the documents in DIR, and every risky setting that they permit.

    Risks are of the level info: callers without an identity, addresses as a condition, rules in shadow mode, rules for
    everybody, hosts outside by a star, without TLS or with the workload's own, fabrics that nothing enforces. SARIF is
    for code scanning, JUnit's XML for CI. Ends with 4 when a document is in error.
    """
    from ringfence.policy.code import ERROR
    from ringfence.policy.reports import counts

    found = _found(path, trust_domain)
    click.echo(_printed(found, fail_on, output), nl=False)
    if any(finding.level == ERROR for finding in found):
        return INVALID_INPUT
    return ANSWER_IS_NO if any(counts(finding, fail_on) for finding in found) else OK


def _found(path: Path, trust_domain: str | None) -> tuple[Finding, ...]:
    """By file and place; what is about all the documents together is told of the folder."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from ringfence.broker.intent_files import read_documents
    from ringfence.policy.load import load_documents
    from ringfence.policy.risks import risks

    now = datetime.now(UTC)
    texts = [(document.path, document.text) for document in read_documents(path)]
    loaded = load_documents(texts, default_trust_domain=trust_domain, now=now)
    all_of_them = (*loaded.findings, *(risks(loaded.model, now) if loaded.model is not None else ()))
    placed = (finding if finding.path else replace(finding, path=str(path)) for finding in all_of_them)
    return tuple(sorted(placed, key=lambda one: (one.path, one.line, one.column, one.code, one.message)))


def _printed(found: tuple[Finding, ...], fail_on: str, output: str) -> str:
    from dataclasses import asdict

    from ringfence.broker.version import VERSION
    from ringfence.policy.reports import junit, sarif

    match output:
        case "json":
            listed = {"apiVersion": API_VERSION, "kind": "FindingList", "items": [asdict(one) for one in found]}
            return f"{json.dumps(listed, indent=2)}\n"
        case "jsonl":
            return "".join(f"{json.dumps(asdict(one))}\n" for one in found)
        case "sarif":
            return f"{json.dumps(sarif(found, VERSION), indent=2)}\n"
        case "junit":
            return junit(found, fail_on)
        case _:
            return "".join(f"{one}\n" for one in found) or "nothing found\n"
