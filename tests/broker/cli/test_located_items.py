"""Lists in files, each item with its line."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.cli.located_items import read_items
from ringfence.certs.errors import Kind, RingfenceError

WITHIN = ("items", "entries")
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=5,
)


def lines(text: str) -> list[tuple[object, int]]:
    """Values and lines."""
    return [(item.value, item.line) for item in read_items(text, "f", within=WITHIN)]


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1},\n\n {"a": 2}]',
        '{"a": 1}\n\n{"a": 2}\n',
        '{"kind": "L", "items": [{"a": 1},\n\n{"a": 2}]}',
        "- a: 1\n\n- a: 2\n",
        "items: [a: 1,\n\n a: 2]\n",
        "a: 1\n---\na: 2\n",
    ],
)
def test_every_form_of_a_list_is_read_with_its_lines(text: str) -> None:
    """A JSON list, JSON lines, a wrapped list, and the same in YAML."""
    assert lines(text) == [({"a": 1}, 1), ({"a": 2}, 3)]


def test_an_empty_list_is_empty() -> None:
    """Whatever it is wrapped in."""
    assert [lines(text) for text in ("[]", '{"items": []}', "items: []\n", "")] == [[], [], [], []]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[{"a": 1},\n{"a": }]', "f:2"),
        ('{"a": 1}\n\n{"a": 1, "a": 2}', "f:3"),
        ('{"items": 7}', "f:1"),
        ("- a: [1\n", "f:"),
        ("[" * 100_000, "f:1"),
        ("- &x a\n- *x\n", "f:1"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(text: str, where: str) -> None:
    """Broken JSON and YAML, a key given twice, nesting without end, an anchor."""
    with pytest.raises(RingfenceError) as caught:
        read_items(text, "f", within=WITHIN)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.where.startswith(where)


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3), max_size=5), st.sampled_from([None, 0, 2])
)
def test_any_list_comes_back_in_order(values: list[dict[str, object]], indent: int | None) -> None:
    """However it is laid out, and lines never go back."""
    found = lines(json.dumps({"kind": "List", "items": values}, indent=indent))
    assert [value for value, _ in found] == values
    assert [line for _, line in found] == sorted(line for _, line in found)


@given(st.text(max_size=60))
def test_hostile_text_is_read_or_refused(text: str) -> None:
    """Never another failure."""
    with suppress(RingfenceError):
        read_items(text, "f", within=WITHIN)
