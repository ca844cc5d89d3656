"""The table of lines is whole: every line has a test or says why not, and every test is about a line."""

from __future__ import annotations

from tests.conformance.lines import LEVELS, Line, elsewhere, holders, is_there, numbered, read, unheld, unknown

REVISION, SECTIONS = read()
LINES = [line for section in SECTIONS for line in section.lines]


def test_every_line_has_a_test_or_says_why_not() -> None:
    """Whoever adds a line adds its test, or the reason why it is not met."""
    assert unheld(LINES, numbered()) == []


def test_every_test_with_a_number_is_about_a_line() -> None:
    """A slip of the pen would leave another line unheld and nobody the wiser."""
    assert unknown(LINES, numbered()) == []


def test_every_test_that_a_line_names_is_there() -> None:
    """It may be renamed or dropped by somebody who knows nothing of the lines."""
    assert [test for test in elsewhere(LINES) if not is_there(test)] == []
    assert not is_there("tests/conformance/test_lines.py::test_that_is_not_there")
    assert not is_there("tests/conformance/not_there.py::test_every_test_that_a_line_names_is_there")


def test_a_line_is_held_by_what_it_names_too() -> None:
    """Those that stand elsewhere come after those that are named after it."""
    line = Line("3.1.1", "2", "must", "x", by=("b.py::test_y",))
    assert unheld([line], {}) == []
    assert holders({"a.py::test_3_1_1_x": "3.1.1"}, [line]) == {"3.1.1": ["a.py::test_3_1_1_x", "b.py::test_y"]}


def test_gaps_are_found() -> None:
    """The two questions above have the answer no, too."""
    lines = [Line("1.1.1", "2", "must", "x"), Line("1.1.2", "2", "must", "x", why="not yet"), LINES[2]]
    assert unheld(lines, {"a.py::test_1_1_3_x": "1.1.3"}) == ["1.1.1"]
    assert unknown(lines, {"a.py::test_1_1_4_x": "1.1.4", "a.py::test_1_1_1_x": "1.1.1"}) == ["a.py::test_1_1_4_x"]


def test_lines_are_numbered_through_and_say_what_they_ask() -> None:
    """From 1 in each section, with a level that the table knows; the revision of the standard is named."""
    assert "665a28f" in REVISION
    for section in SECTIONS:
        assert [line.number for line in section.lines] == [
            f"{section.number}.{n}" for n in range(1, len(section.lines) + 1)
        ]
    for line in LINES:
        assert line.level in LEVELS
        assert line.spec
        assert line.says.endswith(".")
        assert not line.why.endswith(".")  # it ends a cell, not a sentence
