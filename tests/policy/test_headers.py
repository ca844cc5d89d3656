"""Header conditions: what repeated, joined, absent and odd headers mean to an Allow and to a Deny."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.headers import VALUE, HeaderMatch
from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, load, only

EXACT, PREFIX, PRESENT = HeaderMatch("x-role", exact="ro"), HeaderMatch("x-role", prefix="r"), HeaderMatch("x-role")


@pytest.mark.parametrize(
    ("lines", "only_exact", "any_exact", "only_prefix", "any_prefix", "present"),
    [
        ([], False, False, False, False, False),
        (["ro"], True, True, True, True, True),
        (["rw"], False, False, True, True, True),
        (["RO"], False, False, False, False, True),
        ([""], False, False, False, False, True),
        (["ro", "admin"], False, True, False, True, True),
        (["admin", "ro"], False, True, False, True, True),
        (["ro,admin"], False, True, False, True, True),
        (["admin , ro"], False, True, False, True, True),
        (["ro", "ro"], False, True, False, True, True),
        (["roo"], False, False, True, True, True),
        (["admin", "\xff", "ro"], False, True, False, True, True),
        (["admin\tro"], False, False, False, False, True),
    ],
)
def test_a_repeated_header_is_read_for_the_safer_side(  # a table of verdicts
    lines: list[str],
    only_exact: bool,  # noqa: FBT001
    any_exact: bool,  # noqa: FBT001
    only_prefix: bool,  # noqa: FBT001
    any_prefix: bool,  # noqa: FBT001
    present: bool,  # noqa: FBT001
):
    """An Allow wants the one value and no other beside it, a Deny is content with one of several."""
    sent = tuple(("x-role", line) for line in lines)
    assert [EXACT.holds(sent, only=True), EXACT.holds(sent, only=False)] == [only_exact, any_exact]
    assert [PREFIX.holds(sent, only=True), PREFIX.holds(sent, only=False)] == [only_prefix, any_prefix]
    assert PRESENT.holds(sent, only=True) == PRESENT.holds(sent, only=False) == present


@given(
    st.builds(HeaderMatch, st.just("x-role"), st.sampled_from(["ro", "r.", None]), st.none()),
    st.lists(st.text(alphabet="ro.,rw \t\xff", max_size=5).map(lambda text: text.strip(" \t")), max_size=3),
)
def test_what_satisfies_an_allow_satisfies_a_deny(match: HeaderMatch, values: list[str]):
    """A Deny never reads a header more narrowly than an Allow does, and joining lines changes nothing."""
    sent = tuple(("x-role", value) for value in values)
    if match.holds(sent, only=True):
        assert match.holds(sent, only=False)
    joined = (("x-role", ",".join(values)),) if values else ()
    assert match.holds(sent, only=False) == match.holds(joined, only=False)
    if values and match.exact is not None:
        elements = [one.strip(" \t") for one in ",".join(values).split(",")]
        assert match.holds(sent, only=False) == (match.exact in elements)


@given(st.text(max_size=6))
def test_a_value_that_a_rule_asks_for_is_one_value(text: str):
    """No comma, no blank at an end, and nothing that is not visible ASCII: what is asked for can be sent as such."""
    taken = VALUE.fullmatch(text) is not None
    assert taken == (
        text != "" and text == text.strip() and re.fullmatch("[ -~]+", text) is not None and "," not in text
    )


@pytest.mark.parametrize(
    "header",
    [
        "{name: host, exact: a}",
        "{name: cookie, prefix: a}",
        "{name: connection, present: true}",
        "{name: x-forwarded-client-cert, present: true}",
        "{name: x-role, exact: 'a,b'}",
        "{name: x-role, exact: ' a'}",
        "{name: x-role, prefix: 'a '}",
        '{name: x-role, exact: "a\\u00e9"}',
        '{name: x-role, exact: "a\\nb"}',
    ],
)
def test_what_has_more_than_one_reading_is_refused(header: str):
    """A rule would be believed to mean what it says."""
    rule = PULL.replace("http: [{", "http: [{headers: [" + header + "], ")
    finding = only(load(MESH, TRAINER, REGISTRY, rule))
    assert (finding.code, finding.level) == ("RF1104", "error")


def test_an_http_entry_may_have_headers_alone():
    """And each of its three parts restricts by itself."""
    rule = PULL.replace(
        'methods: [GET, HEAD], paths: ["/models/team-a/**"]', "headers: [{name: x-role, present: true}]"
    )
    model = load(MESH, TRAINER, REGISTRY, rule).model
    assert model is not None
    assert model.rules[0].http[0].headers == (PRESENT,)
