"""The page on the standards says what a run of the tests showed, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docs.conformance import RESULTS, result

from tests.conformance.lines import Line
from tests.conformance.record import keep, shown

LINE = Line("1.1.1", "2", "must", "It is so.")
PASSED, FAILED, SKIPPED = {"outcome": "passed"}, {"outcome": "failed"}, {"outcome": "skipped", "reason": "no Envoy"}


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        ([PASSED, PASSED], "met"),
        ([PASSED, FAILED], "**failed**"),
        ([SKIPPED, FAILED], "**failed**"),
        ([PASSED, SKIPPED], "not shown: no Envoy"),
        ([PASSED, None], "not shown: not run"),
    ],
)
def test_a_line_is_met_when_all_its_tests_ran_and_passed(ended: list[dict[str, Any] | None], says: str) -> None:
    """One that was skipped, or that is newer than the run, shows nothing."""
    run = {str(at): how for at, how in enumerate(ended) if how is not None}
    assert result(LINE, [str(at) for at in range(len(ended))], run) == says


def test_a_line_that_is_not_met_says_why() -> None:
    """Without tests not at all, beside tests that pass in part; a failure is one whatever the reason."""
    why = Line("1.1.1", "2", "must", "It is so.", why="nobody can")
    assert result(why, [], {}) == "**not met**: nobody can"
    assert result(why, ["a"], {"a": PASSED}) == "**in part**: nobody can"
    assert result(why, ["a"], {"a": FAILED}) == "**failed**"


def test_every_test_of_a_line_is_in_the_results() -> None:
    """`make docs` was run since the last of them was written, and none is listed that is gone."""
    assert json.loads(RESULTS.read_text())["tests"].keys() == set(shown())


def _report(case: str, when: Any, outcome: Any, longrepr: Any = None) -> pytest.TestReport:
    return pytest.TestReport(
        f"tests/conformance/test_a.py::test_1_1_1_x{case}", ("", 0, ""), {}, outcome, longrepr, when
    )


def test_the_worst_case_of_a_test_counts() -> None:
    """An error in set-up or at the end as much as one in the call; a skipped case keeps its reason."""
    found: dict[str, dict[str, Any]] = {}
    for when in ("setup", "call", "teardown"):
        keep(found, _report("[a]", when, "passed"))
    keep(found, _report("[b]", "setup", "skipped", ("f.py", 1, "Skipped: no Envoy")))
    name = "test_a.py::test_1_1_1_x"
    assert found == {name: {"outcome": "skipped", "cases": 2, "reason": "no Envoy"}}
    keep(found, _report("[c]", "setup", "passed"))
    keep(found, _report("[c]", "teardown", "failed", "it broke"))
    assert (found[name]["outcome"], found[name]["cases"]) == ("failed", 3)


def test_a_test_elsewhere_is_kept_by_its_whole_name() -> None:
    """Files of one name stand in several folders."""
    found: dict[str, dict[str, Any]] = {}
    keep(found, pytest.TestReport("tests/e2e/test_a.py::test_x[1]", ("", 0, ""), {}, "passed", None, "setup"))
    assert found == {"tests/e2e/test_a.py::test_x": {"outcome": "passed", "cases": 1}}
