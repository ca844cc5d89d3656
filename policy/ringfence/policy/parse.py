"""Trees as checked documents, with every error that pydantic finds put back onto its line and column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ringfence.policy.codes import CODES
from ringfence.policy.documents import KINDS, Document
from ringfence.policy.findings import Finding, Findings, did_you_mean
from ringfence.policy.model import Origin
from ringfence.policy.part import API_VERSION, field_names
from ringfence.policy.tree import Node, read_trees

_FIELDS = field_names()
_REMEMBERED_BYTES = 1 << 16  # of one file


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document and the tree it was read from; `document` is None where it has errors of its own."""

    kind: str
    namespace: str
    name: str
    document: Document | None
    node: Node

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for a Mesh."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def origin(self) -> Origin:
        """The place of the document's first line."""
        return self.node.origin


def parse_files(texts: Iterable[tuple[str, str | bytes]], findings: Findings) -> tuple[Parsed, ...]:
    """Every document of every file, in order; errors go to *findings*."""
    parsed: list[Parsed] = []
    for path, text in texts:
        read = _read_file if len(text) <= _REMEMBERED_BYTES else _read_file.__wrapped__
        documents, found = read(path, text)
        parsed += documents
        findings.found += found
    return tuple(parsed)


@lru_cache(maxsize=128)
def _read_file(path: str, text: str | bytes) -> tuple[tuple[Parsed, ...], tuple[Finding, ...]]:
    """Remembered, since reading YAML is most of an apply's work and an apply mostly changes one file of several."""
    findings = Findings()
    made = (parse_document(node, findings) for node in read_trees(path, text, findings))
    return tuple(parsed for parsed in made if parsed is not None), findings.in_order()


def parse_document(node: Node, findings: Findings) -> Parsed | None:
    """One document; None when not even its kind is known."""
    kind = _kind(node, findings)
    if kind is None:
        return None
    document: Document | None = None
    empty = _empty_values(node, findings)
    try:
        document = KINDS[kind].model_validate(node.plain())
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            if node.at(*detail["loc"]) not in empty:
                _note(detail, node, findings)
    if empty:
        document = None
    name = _named(node, "name") or ("mesh" if kind == "Mesh" else "")
    return Parsed(kind, _named(node, "namespace"), name, document, node)


def _empty_values(node: Node, findings: Findings) -> frozenset[Origin]:
    """Notes every value that was left empty: `http:` with nothing below it must not come to mean every request."""
    empty = frozenset(below.origin for below in node.walk() if below.is_empty)
    for origin in empty:
        findings.add("RF1104", origin, "there is no value here", "Write a value, or leave the field out")
    return empty


def _kind(node: Node, findings: Findings) -> str | None:
    if not isinstance(node.entries, dict):
        findings.add("RF1006", node.origin, "a document is a mapping")
        return None
    kind = node.entries.get("kind")
    if kind is None:
        findings.add("RF1103", node.origin, "the document has no kind", f"Known: {', '.join(KINDS)}")
        return None
    if not isinstance(kind.scalar, str) or kind.scalar not in KINDS:
        findings.add("RF1101", kind.origin, f"unknown kind {kind.plain()!r:.80}", did_you_mean(str(kind.scalar), KINDS))
        return None
    return kind.scalar


def _named(node: Node, field: str) -> str:
    found = (node.child("metadata") or node).child(field)
    return found.scalar if found is not None and isinstance(found.scalar, str) else ""


def _note(detail: ErrorDetails, node: Node, findings: Findings) -> None:
    steps = tuple(detail["loc"])
    field = ".".join(str(step) for step in steps) or "the document"
    kind = detail["type"]
    if kind in CODES:  # an error of ours, see fields.problem
        context = detail.get("ctx", {})
        findings.add(kind, node.at(*steps), f"{field}: {context['message']}", context["hint"])
    elif kind == "extra_forbidden":
        known = _FIELDS - {str(steps[-1])}
        findings.add("RF1102", node.key_at(*steps), f"unknown field {field}", did_you_mean(str(steps[-1]), known))
    elif kind == "missing":
        findings.add("RF1103", node.at(*steps), f"{field} is missing")
    elif steps == ("apiVersion",):
        findings.add("RF1101", node.at(*steps), "unknown apiVersion", f"Write apiVersion: {API_VERSION}")
    else:
        findings.add("RF1104", node.at(*steps), f"{_field(steps, node)}: {_lower(detail['msg'])}", _hint(kind))


def _field(steps: tuple[str | int, ...], node: Node) -> str:
    """The path without the names that pydantic adds for the arms of a union."""
    kept: list[str] = []
    at: Node | None = node
    for step in steps:
        below = at.child(step) if at is not None else None
        if below is not None:
            kept.append(str(step))
            at = below
    return ".".join(kept) or "the document"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _hint(kind: str) -> str:
    if kind == "string_type":
        return "Write text; put quotes around a number, true, false or null that is meant as text"
    if kind == "too_short":
        return "An empty list means nothing clear: write at least one, or leave the field out"
    return ""
