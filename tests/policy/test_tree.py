"""YAML within bounds: what is read, what is refused, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy import tree
from ringfence.policy.findings import Findings
from ringfence.policy.tree import MAX_BYTES, MAX_DEPTH, Node, read_trees


def read(text: str | bytes) -> tuple[tuple[Node, ...], Findings]:
    """The trees of *text* and what was found."""
    findings = Findings()
    return read_trees("f.yaml", text, findings), findings


def refused(text: str | bytes) -> tuple[str, int, int]:
    """Code, line and column of the one finding in *text*."""
    _, findings = read(text)
    (found,) = findings.in_order()
    return found.code, found.line, found.column


def test_values_and_places_are_read():
    """Scalars follow the 1.2 core schema, and each value and key knows where it stands."""
    (node,), findings = read("a: [1, 'x', true, 007, no]\nb:\n  c: 1e3\n")
    assert not findings.found
    assert node.plain() == {"a": [1, "x", True, "007", "no"], "b": {"c": "1e3"}}
    assert (node.at("a", 1).line, node.at("a", 1).column) == (1, 8)
    assert (node.key_at("b", "c").line, node.key_at("b", "c").column) == (3, 3)
    assert node.at("b", "zz") == node.at("b")


def test_documents_of_one_file_are_told_apart():
    """Several documents are read in order; comments and empty ones are none."""
    nodes, findings = read("# head\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert not findings.found
    assert [node.plain() for node in nodes if node.entries] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: [1\nb: 2\n", "RF1001", 2),
        ("a: 1\n\tb: 2\n", "RF1001", 2),
        ("a: 'x\n", "RF1001", 2),
        ('a: "\\UFFFFFFFF"\n', "RF1001", 1),
        ("a: \x07\n", "RF1001", 1),
        (b"ok: 1\na: \xff\n", "RF1002", 2),
        ("a: " + "x" * MAX_BYTES, "RF1003", 1),
        ("a: " + "[" * 2000 + "]" * 2000, "RF1003", 1),
        ("a: &x 1\n", "RF1004", 1),
        ("b: 1\na: *x\n", "RF1004", 2),
        ("a: !!python/name:os.system\n", "RF1004", 1),
        ("a: !!str 1\n", "RF1004", 1),
        ("<<: {a: 1}\n", "RF1004", 1),
        ("a: 1\nb: 2\na: 3\n", "RF1005", 3),
        ("just words\n", "RF1006", 1),
        ("? [a]\n: 1\n", "RF1006", 1),
    ],
)
def test_what_cannot_be_intent_is_refused_at_its_line(text: str | bytes, code: str, line: int):
    """Broken, hostile and ambiguous YAML ends in one finding with a line, never in an exception."""
    assert refused(text)[:2] == (code, line)


def test_a_bomb_of_aliases_does_not_grow():
    """The classic expansion bomb is refused at its first anchor."""
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert refused(bomb)[0] == "RF1004"


def test_the_depth_that_is_allowed_is_read():
    """One level less than the bound passes, the bound itself does not."""

    def nested(levels: int) -> str:
        return "a: " + "[" * levels + "]" * levels

    assert not read(nested(MAX_DEPTH - 1))[1].found
    assert refused(nested(MAX_DEPTH))[0] == "RF1003"


def test_values_are_counted(monkeypatch: pytest.MonkeyPatch):
    """A file with too many values is refused while it is read."""
    monkeypatch.setattr(tree, "MAX_VALUES", 10)
    assert refused("a: [1,2,3,4,5,6,7,8,9,10]")[0] == "RF1003"


def test_what_stood_before_a_failure_is_kept():
    """Documents in front of a syntax error are checked too, so that all errors are seen at once."""
    nodes, findings = read("a: 1\n---\nb: [\n")
    assert [node.plain() for node in nodes] == [{"a": 1}]
    assert [found.code for found in findings.found] == ["RF1001"]


def test_a_byte_order_mark_is_no_content():
    """Editors on other systems put it there."""
    assert read(b"\xef\xbb\xbfa: 1\n")[0][0].plain() == {"a": 1}


@given(
    st.one_of(
        st.text(max_size=200), st.binary(max_size=200), st.text(alphabet="{}[]:,-&*!|>'\"%@ \n\ta1#?", max_size=80)
    )
)
def test_no_text_raises(text: str | bytes):
    """Whatever the text, reading it gives trees and findings."""
    read(text)
