"""Findings as SARIF and JUnit: what readers of them demand, whatever a document holds."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.code import Code
from ringfence.policy.codes import CODES
from ringfence.policy.findings import Finding
from ringfence.policy.reports import LEVELS, counts, junit, junit_suite, sarif

TEXT = st.text(max_size=20)
FINDINGS = st.lists(
    st.builds(
        lambda code, path, line, message: Finding(code, CODES[code].level, path, line, 1, message, "Do this"),
        st.sampled_from(sorted(CODES)),
        TEXT,
        st.integers(0, 99),
        TEXT,
    ),
    max_size=5,
)


def finding(code: str = "RF1403", line: int = 7) -> Finding:
    """One at `intent/a b.yaml`."""
    return Finding(code, CODES[code].level, "intent/a b.yaml", line, 3, "it decides nothing", "Enforce it")


def test_sarif_names_rule_level_and_place():
    """An info is a note; paths are URIs; each code is described once."""
    run = sarif([finding(), finding(line=9), finding("RF1301")], "1.2.3")["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["RF1301", "RF1403"]
    first = run["results"][0]
    assert (first["ruleId"], first["ruleIndex"], first["level"]) == ("RF1403", 1, "note")
    assert first["message"]["text"] == "it decides nothing. Enforce it"
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "intent/a%20b.yaml"},
        "region": {"startLine": 7, "startColumn": 3},
    }
    assert run["results"][2]["level"] == "warning"


def test_sarif_tags_a_rule_with_the_threat_that_it_is_a_sign_of():
    """By ids that people filter by; a rule of no threat has no tags."""
    run = sarif([finding("RF1313"), finding()], "1")["runs"][0]
    tags = [rule.get("properties") for rule in run["tool"]["driver"]["rules"]]
    assert tags == [{"tags": ["FAB-03", "AML.T0105", "AML.T0012"]}, None]


def test_another_tool_brings_its_name_and_its_codes():
    """Two tables never share a code; each report names who made it."""
    table = {"RF9999": Code("error", "a cause", "a fix")}
    other = Finding("RF9999", "error", "log", 3, 1, "a message", "a fix")
    run = sarif([other], "1", tool="another tool", table=table)["runs"][0]
    assert run["tool"]["driver"]["name"] == "another tool"
    assert run["tool"]["driver"]["rules"][0]["shortDescription"] == {"text": "a cause"}
    assert parsed(junit([], "error", tool="another tool"))[0].get("name") == "another tool"


def parsed(text: str) -> ET.Element:
    """What a reader of XML makes of it; our own text, so that it cannot be hostile to the reader."""
    return ET.fromstring(text.encode())  # noqa: S314


@pytest.mark.parametrize(("threshold", "failures"), [("error", 0), ("warning", 1), ("info", 2)])
def test_junit_fails_from_the_level_that_is_asked_for(threshold: str, failures: int):
    """What is less grave is skipped, and seen all the same."""
    suite = parsed(junit([finding(), finding("RF1301")], threshold))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", str(failures), str(2 - failures))
    assert len(suite.findall("testcase/failure")) == failures
    assert suite[0].get("classname") == "intent/a b.yaml"


def test_junit_without_a_finding_is_a_case_that_passed():
    """A suite of nothing is an error to some readers."""
    suite = parsed(junit([], "error"))
    assert (suite.get("tests"), suite.get("failures"), len(suite[0])) == ("1", "0", 0)


@given(FINDINGS)
def test_whatever_is_quoted_the_forms_stay_well_formed(found: list[Finding]):
    """XML has no escape for most control characters; SARIF counts lines from 1."""
    suite = parsed(junit(found, "warning"))
    assert len(suite) == max(len(found), 1)
    for result in sarif(found, "1")["runs"][0]["results"]:
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1


def test_the_levels_are_in_order():
    """An error counts at every threshold."""
    error = finding("RF1001")
    assert all(counts(error, level) for level in LEVELS)
    assert [counts(finding(), level) for level in LEVELS] == [False, False, True]


def test_a_suite_of_claims_has_a_case_for_each():
    """Passed with what is told of it, failed or skipped; nothing in it breaks the XML."""
    cases = [("a < b", "passed", "1 & 2\x00"), ("c", "failed", '"d"'), ("e", "skipped", "f")]
    suite = parsed(junit_suite(cases, tool="t"))
    assert suite.attrib == {"name": "t", "tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert [case.get("name") for case in suite] == ["a < b", "c", "e"]
    assert [case[0].tag for case in suite] == ["system-out", "failure", "skipped"]
    assert suite[0][0].text == "1 & 2\ufffd"
    assert suite[1][0].get("message") == '"d"'
