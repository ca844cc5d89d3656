"""A pytest plugin that writes how the tests of lines ended: `pytest tests/conformance -p tests.conformance.record`."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.lines import FOLDER, elsewhere, numbered, read

RESULTS = FOLDER.parents[1] / "docs" / "conformance.json"
_WORST = ("passed", "skipped", "failed")
_HERE = Path("tests/conformance")
_found: dict[str, dict[str, Any]] = {}


def keep(found: dict[str, dict[str, Any]], report: pytest.TestReport) -> None:
    """Add a report: of a test's cases the worst counts, set-up and end included."""
    test = report.nodeid.partition("[")[0]
    name = Path(test).name if Path(test).parent == _HERE else test
    kept = found.setdefault(name, {"outcome": "passed", "cases": 0})
    kept["cases"] += report.when == "setup"
    if _WORST.index(report.outcome) > _WORST.index(kept["outcome"]):
        kept["outcome"] = report.outcome
        if isinstance(report.longrepr, tuple):  # of a skipped test: file, line, and why
            kept["reason"] = report.longrepr[2].removeprefix("Skipped: ")


def shown() -> list[str]:
    """The tests whose results are kept: those that are named after a line, and those that lines name."""
    _, sections = read()
    return [*numbered(), *elsewhere(line for section in sections for line in section.lines)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what pytest reports."""
    keep(_found, report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write it beside the page that shows it; workers of xdist leave that to their controller."""
    if hasattr(session.config, "workerinput"):
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=FOLDER, capture_output=True, text=True, check=False)
    ended = {name: _found.get(name, _found.get(Path(name).name)) for name in shown()}
    known = {name: how for name, how in ended.items() if how is not None}
    document = {"commit": commit.stdout.strip(), "python": platform.python_version(), "tests": known}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
