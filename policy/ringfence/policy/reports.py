"""Findings in the forms that other programs read: SARIF 2.1.0 for code scanning, JUnit's XML for CI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from ringfence.policy.code import ERROR, INFO, WARNING, Code
from ringfence.policy.codes import CODES
from ringfence.policy.findings import Finding
from ringfence.policy.threats import references

LEVELS = (ERROR, WARNING, INFO)  # the gravest first
_NAME = "ringfence policy check"
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS = {ERROR: "error", WARNING: "warning", INFO: "note"}  # SARIF 2.1.0 section 3.27.10
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2


def counts(finding: Finding, threshold: str) -> bool:
    """Whether *finding* is as grave as *threshold*, one of LEVELS, or graver."""
    return LEVELS.index(finding.level) <= LEVELS.index(threshold)


def sarif(
    findings: Sequence[Finding], version: str, *, tool: str = _NAME, table: Mapping[str, Code] = CODES
) -> dict[str, Any]:
    """One run of *tool* of that *version*, with the rule of every code that was found, as *table* has it."""
    codes = sorted({finding.code for finding in findings})
    driver = {"name": tool, "semanticVersion": version, "rules": [_sarif_rule(code, table[code]) for code in codes]}
    results = [_sarif_result(finding, codes.index(finding.code)) for finding in findings]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _sarif_rule(code: str, known: Code) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": code,
        "shortDescription": {"text": known.cause},
        "help": {"text": known.fix},
        "defaultConfiguration": {"level": _SARIF_LEVELS[known.level]},
    }
    return rule | ({"properties": {"tags": list(references(known.threat))}} if known.threat else {})


def _sarif_result(finding: Finding, index: int) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": quote(finding.path)},
        "region": {"startLine": max(finding.line, 1), "startColumn": max(finding.column, 1)},
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _SARIF_LEVELS[finding.level],
        "message": {"text": f"{finding.message}. {finding.hint}"},
        "locations": [{"physicalLocation": place}],
    }


def junit(findings: Sequence[Finding], threshold: str, *, tool: str = _NAME) -> str:
    """A suite with a case for each finding: failed where it `counts`, else skipped; one that passed where none is."""
    cases = [_case(finding, threshold) for finding in findings] or [f"  <testcase name={_attribute(tool)}/>"]
    failed = sum(counts(finding, threshold) for finding in findings)
    head = f'<testsuite name={_attribute(tool)} tests="{len(cases)}" failures="{failed}" errors="0"'
    return _document(f'{head} skipped="{len(findings) - failed}">', cases)


def junit_suite(cases: Sequence[tuple[str, str, str]], *, tool: str) -> str:
    """A suite of *tool* with a case for each name, outcome (`passed`, `failed` or `skipped`) and what is told of it."""
    named = [
        f"  <testcase classname={_attribute(tool)} name={_attribute(name)}{_outcome(outcome, told)}"
        for name, outcome, told in cases
    ]
    count = {outcome: sum(one == outcome for _, one, _ in cases) for outcome in ("failed", "skipped")}
    head = f'<testsuite name={_attribute(tool)} tests="{len(cases)}" failures="{count["failed"]}" errors="0"'
    return _document(f'{head} skipped="{count["skipped"]}">', named)


def _outcome(outcome: str, told: str) -> str:
    match outcome:
        case "failed":
            return f"><failure message={_attribute(told)}/></testcase>"
        case "skipped":
            return f"><skipped message={_attribute(told)}/></testcase>"
        case _:
            return f"><system-out>{escape(_xml(told))}</system-out></testcase>"


def _document(head: str, cases: Iterable[str]) -> str:
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>", ""])


def _case(finding: Finding, threshold: str) -> str:
    name = f"  <testcase classname={_attribute(finding.path)} name={_attribute(f'{finding.code} {finding.where}')}"
    if counts(finding, threshold):
        told = f"<failure type={_attribute(finding.code)} message={_attribute(finding.message)}>"
        return f"{name}>{told}{escape(_xml(str(finding)))}</failure></testcase>"
    return f"{name}><skipped message={_attribute(str(finding))}/></testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Without the characters that no XML may hold, escaped or not: a document of intent may quote any."""
    return _NOT_XML.sub("\ufffd", text)
