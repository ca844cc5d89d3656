"""A call of the demo counts only when call, decision, rule and line all are as they must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.demo.acts import _without
from ringfence.broker.demo.calls import CALLS, Call
from ringfence.broker.demo.judge import Outcome, where

CALL = Call("team-a/trainer", "GET", allowed=True, rule="team-a/pull", do="http")
DECISION = {"allowed": True, "rule": "team-a/pull", "path": "/x/team-a.yaml", "line": 7}


def outcome(call: Call = CALL, *, succeeded: bool = True, **decided: Any) -> Outcome:
    """What came of *call*, with a decision that differs in *decided*."""
    return Outcome(call, succeeded, "200", admin_pb2.Decision(**(DECISION | decided)))


def test_what_is_as_it_must_be_has_no_problem() -> None:
    """The right rule, with its line."""
    assert outcome().problem == ""
    assert where(outcome().decision) == "team-a.yaml:7"


@pytest.mark.parametrize(
    "wrong",
    [
        outcome(succeeded=False),
        outcome(rule="team-a/other"),
        outcome(allowed=False),
        outcome(path="", line=0),
        replace(outcome(), decision=None),
    ],
)
def test_anything_else_is_a_problem(wrong: Outcome) -> None:
    """A failed call, another rule, another verdict, no line, no decision."""
    assert wrong.problem


def test_the_table_shows_enough_of_both() -> None:
    """At least five calls that must be allowed and six that must not."""
    assert sum(call.allowed for call in CALLS) >= 5
    assert sum(not call.allowed for call in CALLS) >= 6


def test_one_document_is_taken_out_of_a_file() -> None:
    """The revocation edits the intent as an operator would: the neighbours stay as they are."""
    text = "kind: A\nmetadata: {name: one, namespace: n}\n---\nkind: B\nmetadata: {name: one-more, namespace: n}\n"

    assert _without(text, "one") == "kind: B\nmetadata: {name: one-more, namespace: n}\n"
