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
    by: tuple[str, ...] = ()  # tests elsewhere, as "folder/file.py::name"


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
    made = (Line(**{k: tuple(v) if k == "by" else v for k, v in line.items() if k != "n"}) for line in lines)
    return Section(number, table["title"], tuple(made))


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


def elsewhere(lines: Iterable[Line]) -> list[str]:
    """The tests that lines name, each once, in order."""
    return sorted({test for line in lines for test in line.by})


def is_there(test: str) -> bool:
    """Whether "folder/file.py::name" is a test."""
    path, _, name = test.partition("::")
    found = FOLDER.parents[1] / path
    return found.is_file() and name in _functions(found)


def holders(held: Mapping[str, str], lines: Iterable[Line] = ()) -> dict[str, list[str]]:
    """The tests that hold each line, by its number: those that are named after it, then those that it names."""
    found: dict[str, list[str]] = {}
    for test, number in held.items():
        found.setdefault(number, []).append(test)
    for line in lines:
        found.setdefault(line.number, []).extend(line.by)
    return found


def unheld(lines: Iterable[Line], held: Mapping[str, str]) -> list[str]:
    """The lines that have neither a test nor a reason for having none."""
    known = holders(held)
    return [line.number for line in lines if not (line.why or line.by) and line.number not in known]


def unknown(lines: Iterable[Line], held: Mapping[str, str]) -> list[str]:
    """The tests that are named after a line which is not there."""
    numbers = {line.number for line in lines}
    return [test for test, number in held.items() if number not in numbers]


def main() -> None:
    """Print the tests that lines name, for whoever runs them."""
    _, sections = read()
    print(*elsewhere(line for section in sections for line in section.lines), sep="\n")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
