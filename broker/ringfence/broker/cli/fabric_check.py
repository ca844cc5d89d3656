"""`ringfence fabric check`: intent and manifests held against the threats to a fabric."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.broker.cli.failure import ANSWER_IS_NO, INVALID_INPUT, OK
from ringfence.broker.cli.output import API_VERSION

if TYPE_CHECKING:
    from datetime import datetime

    from ringfence.policy.findings import Finding
    from ringfence.policy.model import Model

_FORMATS = ("text", "json", "sarif", "junit")
_TOOL = "ringfence fabric check"
_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".conf"})
_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, type=_PATH, metavar="[FILE]...")
@click.option("--dir", "folder", type=_PATH, metavar="DIR", help="Intent documents: they are checked, and have grants.")
@click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
@click.option("--without-namespace", "without", multiple=True, metavar="NS", help="Leave out objects of it: drivers.")
@click.option(
    "--fail-on",
    type=click.Choice(("error", "warning", "info")),
    default="error",
    show_default=True,
    help="From which level on it ends with 3; what cannot be read ends it with 4.",
)
@click.option("-o", "--output", type=click.Choice(_FORMATS), default="text", show_default=True, help="How to print.")
def check(
    *,
    files: tuple[Path, ...],
    folder: Path | None,
    trust_domain: str | None,
    without: tuple[str, ...],
    fail_on: str,
    output: str,
) -> int:
    """Look for the threats FAB-01 to FAB-05 in Kubernetes manifests, opensm's partitions.conf and intent documents.

    A FILE is YAML or JSON (`kubectl get -o yaml` too), a .conf of opensm, or a folder of such. With --dir the findings
    of intent that are signs of a threat are listed as well, and annotations that take traffic out of the proxies are
    held against its FabricGrants: without it nobody has a grant. Nodes are looked at by `ringfence fabric doctor`.
    """
    from ringfence.fabric.manifests.codes import CODES
    from ringfence.policy.reports import counts

    if not files and folder is None:
        raise click.UsageError("there is nothing to look at: name files, or intent with --dir")
    found = _found(files, folder, trust_domain, frozenset(without))
    click.echo(_printed(found, fail_on, output), nl=False)
    if any(one.code not in CODES and one.level == "error" for one in found):
        return INVALID_INPUT
    return ANSWER_IS_NO if any(counts(one, fail_on) for one in found) else OK


def _found(
    files: tuple[Path, ...], folder: Path | None, trust_domain: str | None, without: frozenset[str]
) -> list[Finding]:
    from datetime import UTC, datetime

    from ringfence.fabric.manifests.check import check as checked

    now = datetime.now(UTC)
    model, own = _of_intent(folder, trust_domain, now) if folder is not None else (None, ())
    texts = [(str(path), path.read_text(encoding="utf-8", errors="replace")) for path in _all(files)]
    return [*(one for one in own if one.threats), *checked(texts, model, now, without)]


def _of_intent(folder: Path, trust_domain: str | None, now: datetime) -> tuple[Model, tuple[Finding, ...]]:
    """What the documents mean, and all that is said of them; raises INVALID where any is in error."""
    from ringfence.broker.cli.fabric_intent import model_of
    from ringfence.broker.intent_files import read_documents
    from ringfence.policy.load import load_documents
    from ringfence.policy.risks import risks

    model = model_of(folder, trust_domain, now)
    texts = [(document.path, document.text) for document in read_documents(folder)]
    loaded = load_documents(texts, default_trust_domain=trust_domain, now=now)
    return model, (*loaded.findings, *risks(model, now))


def _all(files: tuple[Path, ...]) -> list[Path]:
    """The files that are named, and those in the folders that are, in order."""
    found: list[Path] = []
    for path in files:
        inside = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
        found += inside if path.is_dir() else [path]
    return found


def _printed(found: list[Finding], fail_on: str, output: str) -> str:
    from ringfence.broker.version import VERSION
    from ringfence.fabric.manifests.codes import CODES
    from ringfence.policy import codes
    from ringfence.policy.reports import junit, sarif

    match output:
        case "json":
            listed = {"apiVersion": API_VERSION, "kind": "FindingList", "items": [asdict(one) for one in found]}
            return f"{json.dumps(listed, indent=2)}\n"
        case "sarif":
            told = sarif(found, VERSION, tool=_TOOL, table={**codes.CODES, **CODES})
            return f"{json.dumps(told, indent=2)}\n"
        case "junit":
            return junit(found, fail_on, tool=_TOOL)
        case _:
            return "".join(f"{one}\n" for one in found) or "nothing found\n"
