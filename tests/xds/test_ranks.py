"""The ranks of a job as a regular expression: all of them, or all but those that are revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.selectors import MAX_RANK
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.identities import Ranks
from ringfence.policy.model import RevokedCaller
from ringfence.xds.proxyless.who import other_than_ranks
from ringfence.xds.ranks import gone, pattern

LLM = Ranks(TrustDomain("example.org"), "team-a", "llm")
NUMBERS = st.integers(0, 30) | st.integers(0, MAX_RANK)


@given(st.frozensets(NUMBERS, max_size=12), NUMBERS, st.sampled_from(["", "0", "a", "/x", "\n", ","]))
def test_all_ranks_match_but_those_that_are_left_out(out: frozenset[int], number: int, behind: str) -> None:
    """And no longer or other name does by that."""
    left_out = frozenset(str(LLM.rank(one)) for one in out)
    asked = f"{LLM.rank(number)}{behind}"
    is_rank = re.fullmatch(LLM.pattern, asked) is not None

    assert bool(re.fullmatch(pattern(LLM, left_out), asked)) == (is_rank and asked not in left_out)


def test_nobody_is_left_where_all_are_out() -> None:
    """An expression without a way matches nothing, the empty text neither."""
    small = pattern(LLM, frozenset(f"{LLM.prefix}{digit}" for digit in range(10)))

    assert not re.fullmatch(small, str(LLM.rank(7)))
    assert re.fullmatch(small, str(LLM.rank(70)))
    assert not re.fullmatch(small, LLM.prefix)


def test_who_is_revoked_as_a_whole_is_left_out() -> None:
    """A single certificate is refused where it is shown; nobody else of the job is."""
    never = datetime(2027, 1, 1, tzinfo=UTC)
    one = RevokedCaller(whole=True, serials=frozenset(), newest=1)
    two = RevokedCaller(whole=False, serials=frozenset({"0" * 32}), newest=1, ends=never)

    assert gone(LLM, {str(LLM.rank(1)): one, str(LLM.rank(2)): two}) == {str(LLM.rank(1))}


@given(st.from_regex(r"\A[0-9a-c./\n]{0,9}\Z"))
def test_every_other_uri_is_another_one(rest: str) -> None:
    """What is no rank matches the expression of others, and what is one does not: RE2 has no `not`."""
    asked = LLM.prefix + rest

    assert bool(re.fullmatch(other_than_ranks(LLM.prefix), asked)) != bool(re.fullmatch(LLM.pattern, asked))


@given(st.integers(0, len(LLM.prefix) - 1), st.characters(codec="ascii"))
def test_a_uri_that_begins_otherwise_is_another_one(at: int, letter: str) -> None:
    """Whichever letter of the job's own name differs."""
    asked = f"{LLM.prefix[:at]}{letter}{LLM.prefix[at + 1 :]}1"

    if ":" in asked and asked != str(LLM.rank(1)):
        assert re.fullmatch(other_than_ranks(LLM.prefix), asked)
