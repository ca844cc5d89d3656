"""The table of failures names what is there, and all of it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.failures.table import ROOT, held, named_in, rows

KINDS = 16


def test_every_kind_of_failure_has_cases_numbered_through_and_each_case_a_test() -> None:
    """A case without a test is a wish."""
    cases = [row["case"] for row in rows()]
    numbers = [tuple(map(int, case.split("."))) for case in cases]
    assert {kind for kind, _ in numbers} == set(range(1, KINDS + 1))
    assert all(b in {(a[0], a[1] + 1), (a[0] + 1, 1)} for a, b in pairwise(numbers))
    assert set(cases) == {case for named in held().values() for case in named}


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or deleted leaves no case with a hollow claim."""
    files = {ROOT / test.partition("::")[0] for test in held()}
    there = {test for path in files if path.exists() for test in named_in(path)}
    assert sorted(held().keys() - there) == []


def test_every_test_of_this_folder_is_named_under_its_kind() -> None:
    """`test_09_entries.py` holds cases of kind 9."""
    for path in Path(__file__).parent.glob("test_[0-9]*.py"):
        kind = int(re.match(r"test_(\d+)_", path.name)[1])  # type: ignore[index]
        for test in named_in(path):
            assert any(case.startswith(f"{kind}.") for case in held().get(test, [])), test


def test_tests_carry_their_case_as_a_mark(request: pytest.FixtureRequest) -> None:
    """So that the tests of a case can be run by its number; those of no case carry none."""
    items = {item.nodeid.partition("[")[0]: item for item in request.session.items}
    for test, item in items.items():
        marks = [mark.kwargs["case"] for mark in item.iter_markers("failure")]
        assert marks == held().get(test, [])
