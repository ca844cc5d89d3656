"""Judging one claim."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.claims import MOST_ADDRESSES, Claim, Leave, judge
from tests.fabric.claims import (
    AT,
    ENDS,
    EVAL,
    GRANT_B,
    IDENTITY,
    LLM,
    OPEN,
    RAIL,
    claim,
    evaluation,
    given,
    leave_of,
    refused,
)
from tests.policy.intent import FABRIC, GRANT, MESH, NOW, TRAINER, model_of


def test_a_claim_of_a_granted_identity_may_stand_until_the_grant_ends() -> None:
    """With the node's own addresses on the fabric, or with none as long as it has none."""
    assert judge(claim(), leave_of(), given) == ENDS
    assert judge(claim(1, "192.168.50.1", "192.168.50.2"), leave_of(), given) == ENDS


def test_it_may_stand_no_longer_than_the_entry_that_gives_the_identity() -> None:
    """Which may end before the grant does."""
    assert judge(claim(), leave_of(), lambda one: (given(one)[0], AT + 60)) == AT + 60


def test_of_several_grants_the_last_end_of_one_that_names_the_identity_counts() -> None:
    """A later one for others does not."""
    later = GRANT.replace("name: llm,", "name: more,").replace("2027-01-31", "2027-03-31")
    others = later.replace("name: more,", "name: others,").replace("trainer}", "scorer}").replace("2027-03", "2027-05")
    scorer = EVAL.replace("eval", "scorer").replace("team-b", "team-a")
    leave = leave_of(scorer, FABRIC, GRANT, later, others)

    assert judge(claim(), leave, given) == ENDS + 59 * 24 * 3600


def test_a_grant_for_a_job_means_each_of_its_ranks() -> None:
    """And nobody whose name only begins as theirs do."""
    job = TRAINER.replace("match: [{unix.uid: 1001}]", "job: llm, launch: {by: [{unix.uid: 1001}]}")
    leave = Leave.of(model_of(MESH, job, FABRIC, GRANT), NOW)
    ranks = "spiffe://example.test/ns/team-a/job/llm/rank/"

    assert all(judge(claim(spiffe_id=f"{ranks}{rank}"), leave, given) == ENDS for rank in (0, 7, 999_999))
    for stranger in (IDENTITY, f"{ranks}01", f"{ranks}1a", f"{ranks}1/x", ranks.replace("llm", "llm2") + "1"):
        with pytest.raises(RingfenceError) as caught:
            judge(claim(spiffe_id=stranger), leave, given)
        assert caught.value.kind is Kind.DENIED


def test_a_grant_for_a_namespace_means_all_workloads_of_it() -> None:
    """And of no other, also of none whose name begins so."""
    leave = leave_of(EVAL, OPEN, GRANT_B)

    assert judge(evaluation(), leave, given)
    for stranger in ("spiffe://example.test/ns/team-bb/sa/eval", "spiffe://example.tests/ns/team-b/sa/eval"):
        with pytest.raises(RingfenceError, match="not among the identities"):
            judge(claim(job="team-b/eval", spiffe_id=stranger), leave, given)


RANKS = """
kind: Workload
metadata: {name: ranks, namespace: team-a}
spec: {job: llm, launch: {by: [{unix.uid: 7}]}}
"""


def test_a_grant_for_a_job_of_ranks_means_each_of_them() -> None:
    """By its number in one spelling, and nobody beside them."""
    leave = leave_of(RANKS, FABRIC, GRANT.replace("workload: trainer", "workload: ranks"))
    job = "spiffe://example.test/ns/team-a/job/llm/rank/"

    assert [leave.spelled(source) for source in leave.grants[RAIL, LLM][0].sources] == [f"{job}*"]
    assert judge(claim(spiffe_id=f"{job}3"), leave, given) == ENDS
    for stranger in (f"{job}03", f"{job}x", f"{job}3/rank/4", IDENTITY):
        with pytest.raises(RingfenceError, match="not among the identities"):
            judge(claim(spiffe_id=stranger), leave, given)


def _other_entry(_: Claim) -> tuple[SpiffeId, int]:
    return SpiffeId.parse("spiffe://example.test/ns/team-a/sa/other"), 0


@pytest.mark.parametrize(
    ("one", "leave", "gives", "why"),
    [
        (claim(), Leave.of(None, NOW), given, "there is no fabric platform/rail"),
        (claim(fabric="platform/other"), leave_of(), given, "there is no fabric platform/other"),
        (
            claim(),
            leave_of(FABRIC.replace("kind: infiniband", "kind: infiniband\n  plane: storage")),
            given,
            "no fabric",
        ),
        (claim(), leave_of(FABRIC), given, "no grant in force lets job team-a/llm-7b use"),
        (claim(job="team-a/other"), leave_of(), given, "no grant in force lets job team-a/other use"),
        (claim(job="team-b/llm-7b"), leave_of(), given, "no grant in force lets job team-b/llm-7b use"),
        (claim(spiffe_id=f"{IDENTITY}s"), leave_of(), given, "trainers is not among the identities of job team-a/llm"),
        (claim(spiffe_id="trainer"), leave_of(), given, "is no SPIFFE ID"),
        (claim(), leave_of(), refused, "it has no such entry"),
        (claim(), leave_of(), _other_entry, "entry e1 gives spiffe://example.test/ns/team-a/sa/other, and not"),
        (claim(1, "192.168.51.1"), leave_of(), given, "192.168.51.1 is no address of fabric platform/rail"),
        (claim(1, "192.168.50.1", "10.0.0.1"), leave_of(), given, "10.0.0.1 is no address of"),
        (claim(1, "rail"), leave_of(), given, "'rail' is no IP address"),
        (claim(1, "192.168.50.1/32"), leave_of(), given, "is no IP address"),
        (
            claim(1, "fd00::1%eth0"),
            leave_of(FABRIC.replace("192.168.50.0/24", "fd00::/64"), GRANT),
            given,
            "no address",
        ),
        (claim(1, "fd00:0::1"), leave_of(FABRIC.replace("192.168.50.0/24", "fd00::/64"), GRANT), given, "no address"),
        (claim(1, "192.168.50.1"), leave_of(FABRIC.replace("  cidrs: [192.168.50.0/24]\n", ""), GRANT), given, "none"),
        (claim(1, *["192.168.50.1"] * (MOST_ADDRESSES + 1)), leave_of(), given, "more than 128"),
    ],
)
def test_what_nothing_gives_leave_for_does_not_stand(
    one: Claim, leave: Leave, gives: Callable[[Claim], tuple[SpiffeId, int]], why: str
) -> None:
    """Whatever is missing is named."""
    with pytest.raises(RingfenceError, match=why):
        judge(one, leave, gives)


def test_a_grant_that_has_ended_is_none() -> None:
    """From its end on; a moment before it holds."""
    end = datetime.fromisoformat("2027-01-31T00:00:00Z")

    assert judge(claim(), leave_of(now=end - timedelta(seconds=1)), given)
    with pytest.raises(RingfenceError, match="no grant in force") as caught:
        judge(claim(), leave_of(now=end), given)
    assert caught.value.kind is Kind.DENIED


@drawn(
    st.builds(
        Claim,
        agent=st.text(max_size=9),
        fabric=st.sampled_from(["platform/rail", "", "x"]),
        job=st.sampled_from(["team-a/llm-7b", "llm-7b", ""]),
        spiffe_id=st.one_of(st.just(IDENTITY), st.text(max_size=20)),
        entry_id=st.text(max_size=9),
        addresses=st.tuples(st.one_of(st.text(max_size=20), st.ip_addresses().map(str))),
    )
)
def test_whatever_is_claimed_is_judged_or_refused(one: Claim) -> None:
    """Nothing stands but in the fabric's network, for the job and the identity of the grant."""
    try:
        judge(one, leave_of(), given)
    except RingfenceError:
        return
    assert (one.fabric, one.job, one.spiffe_id) == ("platform/rail", "team-a/llm-7b", IDENTITY)
    assert all(address.startswith("192.168.50.") for address in one.addresses)
