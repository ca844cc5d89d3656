"""The lines of the standards (lines.toml), and the tests that hold them: test_1_6_11_... holds line 1.6.11."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LEVELS = ("must", "should", "note")
_NAME = re.compile(r"test_(\d+(?:_\d+)+)_\w+")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a standard asks; `why` says why it is not met, or, beside tests, what part of it."""

    number: str
    spec: str
    level: str
    says: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one document of the standard."""

    number: str
    title: str
    lines: tuple[Line, ...]


def read() -> tuple[str, tuple[Section, ...]]:
    """The revision of the standard, and its sections."""
    document = tomllib.loads((FOLDER / "lines.toml").read_text(encoding="utf-8"))
    revision: str = document.pop("revision")
    return revision, tuple(_section(number, table) for number, table in document.items())


def _section(number: str, table: Mapping[str, Any]) -> Section:
    lines = ({**line, "number": f"{number}.{line['n']}"} for line in table["lines"])
    return Section(number, table["title"], tuple(Line(**{k: v for k, v in line.items() if k != "n"}) for line in lines))


def numbered() -> dict[str, str]:
    """The number of the line that each test holds, by `file::name`; a test without a number holds none."""
    return {
        f"{path.name}::{name}": found[1].replace("_", ".")
        for path in sorted(FOLDER.glob("test_*.py"))
        for name in _functions(path)
        if (found := _NAME.fullmatch(name))
    }


def _functions(path: Path) -> Iterable[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return (node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def holders(held: Mapping[str, str]) -> dict[str, list[str]]:
    """The tests that hold each line, by its number."""
    found: dict[str, list[str]] = {}
    for test, number in held.items():
        found.setdefault(number, []).append(test)
    return found


def unheld(lines: Iterable[Line], held: Mapping[str, str]) -> list[str]:
    """The lines that have neither a test nor a reason for having none."""
    known = holders(held)
    return [line.number for line in lines if not line.why and line.number not in known]


def unknown(lines: Iterable[Line], held: Mapping[str, str]) -> list[str]:
    """The tests that are named after a line which is not there."""
    numbers = {line.number for line in lines}
    return [test for test, number in held.items() if number not in numbers]
