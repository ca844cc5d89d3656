"""The page of what SPIFFE and xDS ask, line by line, with the tests that hold it and how they last ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.lines import Line, Section, holders, numbered, read

RESULTS = Path(__file__).parent / "conformance.json"

_PART = "**in part**"
_INTRODUCTION = """\
What the SPIFFE standards ask of an implementation, what SPIRE's agent and Envoy do for secrets, what the xDS protocol
asks of a server (3.1), and the traps of its clients (3.2, 3.3): {lines} lines in our own words
(`tests/conformance/lines.toml`), each with the tests in `tests/conformance/` that carry its number, and those elsewhere
that try it with real proxies. {met} of them are met, {part} in part. The SPIFFE standards are those of {revision}.

The results are of a run at commit `{commit:.12}` with Python {python}: `make docs` runs the tests and writes this page;
`make test T=tests/conformance` runs them alone. *must* and *should* are the standard's; a *note* is a trap, or what
other implementations do. A line that is not met says why, and one whose test was skipped says what was missing.
"""


def page(made: str) -> str:
    """The whole page, under the line *made*."""
    revision, sections = read()
    run: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    every = [line for section in sections for line in section.lines]
    held = holders(numbered(), every)
    results = {line.number: result(line, held.get(line.number, []), run["tests"]) for line in every}
    met = sum(said == "met" for said in results.values())
    part = sum(said.startswith(_PART) for said in results.values())
    head = _INTRODUCTION.format(revision=revision, lines=len(every), met=met, part=part, **run)
    parts = [made, "# Conformance\n", head]
    for section in sections:
        parts += _section(section, held, results)
    return "\n".join([*parts, ""])


def _section(section: Section, held: Mapping[str, list[str]], results: Mapping[str, str]) -> Iterator[str]:
    yield f"## {section.number} {section.title}\n"
    yield "| line | of | level | what | tests | result |"
    yield "|---|---|---|---|---|---|"
    for line in section.lines:
        by = "<br>".join(f"`{test}`" for test in held.get(line.number, [])) or "-"
        yield f"| {line.number} | {line.spec} | {line.level} | {line.says} | {by} | {results[line.number]} |"
    yield ""


def result(line: Line, by: list[str], run: Mapping[str, Mapping[str, Any]]) -> str:
    """What the last run says of a line: met only when every test of it ran and passed."""
    if not by:
        return f"**not met**: {line.why}"
    ended = [run.get(test, {"outcome": "not run"}) for test in by]
    if any(test["outcome"] == "failed" for test in ended):
        return "**failed**"
    for test in ended:
        if test["outcome"] != "passed":
            return f"not shown: {test.get('reason', test['outcome'])}"
    return f"{_PART}: {line.why}" if line.why else "met"
