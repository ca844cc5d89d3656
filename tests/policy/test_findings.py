"""Findings: stable codes, each with a cause and a next step."""

import re
from pathlib import Path

from ringfence.policy.code import ERROR
from ringfence.policy.codes import CODES
from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.lint_codes import LINT_CODES
from ringfence.policy.model import Origin

TABLES = {"codes.py", "lint_codes.py"}
ROOM = Path(__file__).parents[2] / "policy" / "ringfence" / "policy"


def test_every_code_is_used_and_every_used_code_is_known():
    """The table holds what the code may say, no more and no less."""
    source = "".join(path.read_text() for path in ROOM.glob("*.py") if path.name not in TABLES)
    assert set(re.findall(r"RF1\d{3}", source)) == set(CODES)


def test_a_code_stands_in_the_table_of_its_number():
    """Errors are 10xx to 12xx; a code in both tables would mean one thing here and another there."""
    assert {code for code in CODES if code >= "RF13"} == set(LINT_CODES)
    assert {code for code, known in CODES.items() if known.level == ERROR} == CODES.keys() - LINT_CODES.keys()


def test_findings_come_in_the_order_of_the_files_each_once():
    """They are sorted by file and place, and said once."""
    findings = Findings()
    for path, line in (("b", 1), ("a", 9), ("a", 2), ("a", 2)):
        findings.add("RF1001", Origin(path, line), "no")
    assert [f"{f.path}{f.line}" for f in findings.in_order()] == ["a2", "a9", "b1"]
    assert str(findings.in_order()[0]) == "a:2:1: error RF1001: no. Correct the syntax at the place named"


def test_a_hint_names_the_nearest_or_the_choice():
    """Few choices are listed, many are not."""
    assert did_you_mean("htp", ["http", "grpc"]) == "Did you mean 'http'?"
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b"
    assert did_you_mean("zzz", [str(n) for n in range(50)]) == ""
