"""The page on roles says of each call what the table of calls says."""

from __future__ import annotations

from pathlib import Path

from ringfence.broker.access.table import NEEDS, Need, Scope

PAGE = Path(__file__).parents[2] / "docs" / "access.md"


def row(name: str, need: Need) -> str:
    """A call as the page has it."""
    role = "-" if need.scope is Scope.NONE else need.role.value
    commands = ", ".join(f"`{command}`" for command in need.commands)
    return f"| `{name}` | {commands} | {role} | {need.scope.value} |"


def test_every_call_is_on_the_page_as_it_is_in_the_table() -> None:
    """In the table's order, and nothing beside it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| call | commands | role | reach |") + 2
    assert lines[start:] == [row(name, need) for name, need in NEEDS.items()]
