"""The ranks of a job as a regular expression: all of them, or all but those that are revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.selectors import MAX_RANK
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.callers import RevokedCaller
from ringfence.policy.identities import Identity, Ranks
from ringfence.xds import codec
from ringfence.xds.proxyless.tls import client_tls as grpc_tls
from ringfence.xds.proxyless.who import other_than_ranks
from ringfence.xds.ranks import gone, pattern
from ringfence.xds.sources import client_tls

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


@pytest.mark.parametrize("dialect", ["envoy", "grpc"])
def test_a_caller_takes_ranks_alone_for_the_server(dialect: str) -> None:
    """All but those that are revoked; and of one that is no job the very name."""
    revoked = {str(LLM.rank(1)): RevokedCaller(whole=True, serials=frozenset(), newest=1)}

    def name(peer: Identity) -> Any:
        own = LLM.rank(0)
        made = client_tls(own, peer, revoked) if dialect == "envoy" else grpc_tls(peer, revoked)
        tls = codec.unpack(made["typed_config"].SerializeToString()).common_tls_context
        if dialect == "grpc":
            return tls.validation_context.match_subject_alt_names[0]
        return tls.combined_validation_context.default_validation_context.match_typed_subject_alt_names[0].matcher

    servers = name(LLM)
    assert servers.WhichOneof("match_pattern") == "safe_regex"
    assert re.fullmatch(servers.safe_regex.regex, str(LLM.rank(2)))
    for other in (
        f"{LLM.rank(1)}",
        f"{LLM.rank(2)}/x",
        f"{LLM.prefix}02",
        LLM.prefix,
        "spiffe://example.org/ns/a/sa/b",
    ):
        assert not re.fullmatch(servers.safe_regex.regex, other)
    assert name(LLM.rank(2)).exact == str(LLM.rank(2))


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
