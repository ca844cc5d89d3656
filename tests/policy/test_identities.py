"""The identities of one workload: who is a rank of a job, and who only looks like one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.identities import Ranks, covers, identity, named_by, ranks_of

OURS = TrustDomain("example.org")
LLM = Ranks(OURS, "team-a", "llm")
RANK = "/ns/team-a/job/llm/rank/"
STRANGERS = [
    f"{RANK}1a",
    f"{RANK}01",
    f"{RANK}00",
    f"{RANK}1000000",
    f"{RANK}-1",
    f"{RANK}1/x",
    f"{RANK}1/rank/1",
    f"{RANK}1.0",
    "/ns/team-a/job/llm/rank",
    "/ns/team-a/job/llm",
    "/ns/team-a/job/llm2/rank/1",
    "/ns/team-a/job/ll/rank/1",
    "/ns/team-b/job/llm/rank/1",
    "/ns/team-a/sa/llm/rank/1",
    "/ns/team-a/sa/llm",
    "/x/ns/team-a/job/llm/rank/1",
]


@pytest.mark.parametrize("number", [0, 1, 9, 10, 42, 999_999])
def test_a_rank_of_the_job_is_covered(number: int) -> None:
    """Each number has one spelling, and its identity is that of no other job."""
    one = LLM.rank(number)

    assert str(one) == f"spiffe://example.org{RANK}{number}"
    assert one in LLM
    assert covers(LLM, one)
    assert ranks_of(one) == LLM
    assert re.fullmatch(LLM.pattern, str(one))


@pytest.mark.parametrize("path", STRANGERS)
def test_what_looks_like_a_rank_is_none(path: str) -> None:
    """More or less than a number, a longer path, another job, namespace or kind of path."""
    one = SpiffeId(OURS, path)

    assert one not in LLM
    assert not covers(LLM, one)
    assert not re.fullmatch(LLM.pattern, str(one))


def test_a_rank_of_another_trust_domain_is_none() -> None:
    """Also where its name begins as ours does, or matches ours where a dot is any character."""
    for domain in ("example.org.evil", "partner.example", "exampleXorg".lower()):
        one = SpiffeId(TrustDomain(domain), f"{RANK}1")

        assert one not in LLM
        assert not re.fullmatch(LLM.pattern, str(one))


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_numbers_out_of_range_are_refused(number: int) -> None:
    """There is no identity for them."""
    with pytest.raises(RingfenceError) as caught:
        LLM.rank(number)

    assert caught.value.kind is Kind.INVALID


def test_the_ranks_as_a_whole_are_no_identity() -> None:
    """Their spelling has a star, so that whoever takes it for a SPIFFE ID finds nobody; and one rank is not all."""
    with pytest.raises(RingfenceError):
        SpiffeId.parse(str(LLM))
    assert covers(LLM, LLM)
    assert not covers(LLM.rank(1), LLM)
    assert not covers(LLM.rank(1), LLM.rank(2))


def test_what_was_written_is_read_again() -> None:
    """An identity, or the ranks of a job; nothing else that has a star."""
    assert identity(str(LLM)) == LLM
    assert identity("spiffe://example.org/ns/a/sa/w") == SpiffeId(OURS, "/ns/a/sa/w")
    for text in ("spiffe://example.org/ns/a/*", "spiffe://x/ns/../job/a/rank/*", "x://example.org/ns/a/job/b/rank/*"):
        with pytest.raises(RingfenceError):
            identity(text)


def test_workloads_are_found_by_each_of_their_identities() -> None:
    """By a rank the job, and by an identity that nobody has nothing."""
    known = {LLM: "job", SpiffeId(OURS, "/ns/a/sa/w"): "one"}

    assert named_by(known, LLM.rank(7)) == "job"
    assert named_by(known, SpiffeId(OURS, "/ns/a/sa/w")) == "one"
    assert named_by(known, SpiffeId(OURS, "/ns/team-a/job/other/rank/7")) is None
    assert named_by(known, SpiffeId(OURS, f"{RANK}7/x")) is None


@given(st.from_regex(r"\A[0-9a-z./]{0,9}\Z"))
def test_the_pattern_and_the_judgement_agree(rest: str) -> None:
    """Whatever follows: enforcement points match by the pattern what the evaluator judges by the value."""
    try:
        one = SpiffeId(OURS, RANK + rest)
    except RingfenceError:
        assert not re.fullmatch(LLM.pattern, f"spiffe://example.org{RANK}{rest}")
        return
    assert (one in LLM) == bool(re.fullmatch(LLM.pattern, str(one)))
