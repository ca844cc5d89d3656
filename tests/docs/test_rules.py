"""The table of rules learned names what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "rules.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _tests(path: Path) -> dict[str, str]:
    """The tests of a file with their docstrings."""
    found = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: ast.get_docstring(node) or "" for node in found if node.name.startswith("test_")}


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or deleted leaves no rule with a hollow claim."""
    named = NAMED.findall(PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in _tests(ROOT / path)]
    assert len(named) > 40
    assert missing == []


def test_every_place_that_is_named_exists() -> None:
    """Nor does code that was moved."""
    places = re.findall(r"`((?:broker|certs|fabric|policy|proto|tests|xds)/[\w/]+(?:\.py)?)`", PAGE)
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_every_test_of_rules_learned_is_in_the_table_under_its_rule() -> None:
    """Its docstring begins with `Rule N:`, and row N names it."""
    rows = {row.split(".")[0].strip("| "): row for row in PAGE.splitlines() if row.startswith("| ")}
    for path in (ROOT / "tests" / "e2e").glob("test_rules_learned*.py"):
        for name, doc in _tests(path).items():
            rule = re.match(r"Rule (\d+): ", doc)
            assert rule, name
            assert f"{path.name}::{name}`" in rows[rule[1]], name
