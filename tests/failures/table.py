"""The table of failures (docs/failures.md): which tests hold which case."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failures.md"
_ROW = re.compile(r"\| (?P<case>(?P<kind>\d+)\.\d+) \|.*")
_NAMED = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`")


def held() -> dict[str, list[str]]:
    """The cases that each test holds, by its `file::name`."""
    found: dict[str, list[str]] = {}
    for row in rows():
        for test in _NAMED.findall(row[0]):
            found.setdefault(test, []).append(row["case"])
    return found


def rows() -> list[re.Match[str]]:
    """The rows of the page, with their `case` and its `kind`."""
    return [row for line in PAGE.read_text(encoding="utf-8").splitlines() if (row := _ROW.fullmatch(line))]


def named_in(path: Path) -> Iterator[str]:
    """The `file::name` of the tests in a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield f"{path.relative_to(ROOT)}::{node.name}"
