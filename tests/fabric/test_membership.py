"""Who is a member of what, and what one node is told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import GRACE, LEASE, Judged, Member, Owners, Standing, judged, told
from tests.fabric.claims import (
    AGENT,
    AT,
    IDENTITY,
    LLM,
    RAIL,
    claim,
    evaluation,
    given,
    leave_of,
    standing,
    two_tenants,
)
from tests.policy.intent import FABRIC, NOW

OF_B = "spiffe://example.test/ns/team-b/*"
BOTH = frozenset({IDENTITY, OF_B})


def test_the_addresses_of_a_job_are_those_of_all_claims_that_stand() -> None:
    """Each once and in order, until the last claim of it ends."""
    rows = [
        standing(claim(10)),
        standing(claim(9, "192.168.50.9", "192.168.50.8"), AT - 100),
        standing(claim(9, "192.168.50.9", entry_id="e2"), AT - 50),
        standing(evaluation(3)),
    ]

    found = judged(rows, two_tenants(), given, AT)

    assert found.members[RAIL, LLM] == (
        Member("192.168.50.8", AT - 100 + LEASE),
        Member("192.168.50.9", AT - 50 + LEASE),
        Member("192.168.50.10", AT + LEASE),
    )
    assert found.members[RAIL, "team-b/eval"] == (Member("192.168.50.3", AT + LEASE),)
    assert not found.fallen


def test_a_member_is_one_until_lease_grant_or_entry_ends() -> None:
    """Whichever is first; then the claim falls."""
    late = NOW + timedelta(hours=11, minutes=30)  # half an hour before the end of the grant of team-b
    at = int(late.timestamp())
    rows = [standing(evaluation(), at), standing(claim(2), at)]

    found = judged(rows, two_tenants(now=late), lambda one: (given(one)[0], at + 9 if one.job == LLM else 0), at)

    assert found.members[RAIL, "team-b/eval"] == (Member("192.168.50.1", at + 1800),)
    assert found.members[RAIL, LLM] == (Member("192.168.50.2", at + 9),)
    assert found.changes_at == at + 9
    after = judged(rows, two_tenants(now=late + timedelta(minutes=30)), given, at + 1800)
    assert (RAIL, "team-b/eval") not in after.members
    assert [error.kind for error in after.fallen.values()] == [Kind.DENIED]


@pytest.mark.parametrize(
    ("leaves", "at", "stands"), [(0, AT + 9999, False), (AT + 5, AT + 4, True), (AT + 5, AT + 5, False)]
)
def test_a_claim_stands_for_its_lease_and_for_the_grace_of_its_node(leaves: int, at: int, *, stands: bool) -> None:
    """Then it is as if it was not there, also where nobody has removed it."""
    one = standing(claim(), leaves=leaves)

    found = judged([one], leave_of(), given, at)

    assert bool(found.members) is stands is one.stands(at)
    assert bool(found.fallen) is not stands
    assert not stands or found.changes_at == AT + 5


def test_an_address_belongs_to_the_node_that_had_it_first() -> None:
    """Another one is refused as long as that stands, and has it when it has left."""
    first, second = standing(claim(1), AT - 1), standing(claim(2, "192.168.50.1"))

    found = judged([second, first], leave_of(), given, AT)

    assert set(found.standing) == {first}
    assert f"192.168.50.1 is that of node {AGENT.format(1)}" in str(found.fallen[second])
    assert found.fallen[second].kind is Kind.CONFLICT
    assert set(judged([second], leave_of(), given, AT).standing) == {second}


def test_an_address_is_in_the_jobs_of_one_tenant() -> None:
    """On one node too: else the ranks of one reached those of the other. Two jobs of one tenant may share it."""
    mine, theirs = standing(claim(1), AT - 1), standing(evaluation(1))

    found = judged([mine, theirs], two_tenants(), given, AT)

    assert set(found.standing) == {mine}
    assert "192.168.50.1 is that of a job of team-a on the same node" in str(found.fallen[theirs])
    owners = Owners([mine.claim])
    owners.take(replace(mine.claim, job="team-a/other"))


def test_of_a_claim_with_one_address_of_another_node_no_address_is_taken() -> None:
    """All or none: the free one stays free."""
    owners = Owners([claim(1)])

    with pytest.raises(RingfenceError, match="is that of node"):
        owners.take(claim(2, "192.168.50.2", "192.168.50.1"))
    owners.take(claim(3, "192.168.50.2"))


def test_a_node_is_told_the_members_of_jobs_that_it_is_in() -> None:
    """Of others that it may join only that it may, and nothing of those that it may not."""
    found = judged([standing(claim(1)), standing(claim(2)), standing(evaluation(3))], two_tenants(), given, AT)

    [rail] = told(two_tenants(), found, AGENT.format(1), BOTH)
    [own, theirs] = rail.jobs
    assert (own.job, own.spiffe_ids, len(own.members)) == (LLM, (IDENTITY,), 2)
    assert (theirs.job, theirs.spiffe_ids, theirs.members) == ("team-b/eval", (OF_B,), ())
    assert [job.job for job in told(two_tenants(), found, AGENT.format(4), frozenset({IDENTITY}))[0].jobs] == [LLM]
    assert told(two_tenants(), found, AGENT.format(4), frozenset())[0].jobs == ()


def test_a_fabric_that_nobody_is_granted_is_told_too() -> None:
    """So that it is closed, and stays closed when its last grant has ended."""
    [rail] = told(leave_of(FABRIC), Judged(), AGENT.format(1), BOTH)

    assert (rail.fabric.key, rail.jobs) == (RAIL, ())
    assert (
        told(leave_of(FABRIC.replace("kind: infiniband", "kind: infiniband\n  plane: storage")), Judged(), "", BOTH)
        == ()
    )


claims = st.builds(
    lambda node, last, b: (evaluation if b else claim)(node, f"192.168.50.{last}"),
    node=st.integers(1, 4),
    last=st.integers(1, 6),
    b=st.booleans(),
)
rows_of = st.lists(
    st.builds(
        lambda one, age, leaves: standing(one, AT - age, leaves=leaves and AT + leaves),
        claims,
        st.integers(0, LEASE + 10),
        st.integers(-1, GRACE),
    ),
    max_size=12,
)


@drawn(rows_of, st.sets(st.integers(1, 4)))
def test_no_two_nodes_and_no_two_tenants_ever_have_one_address(rows: list[Standing], gone: set[int]) -> None:
    """Whatever was admitted, in whatever order it is read; and nobody is a member by a claim that does not stand."""
    out = {AGENT.format(node) for node in gone}

    def gives(one: Claim) -> tuple[SpiffeId, int]:
        if one.agent in out:
            raise RingfenceError(Kind.DENIED, "it is banned")
        return given(one)

    found = judged(rows, two_tenants(), gives, AT)

    owner: dict[str, tuple[str, str]] = {}
    for one in found.standing:
        assert one.stands(AT)
        assert one.claim.agent not in out
        for address in one.claim.addresses:
            assert owner.setdefault(address, (one.claim.agent, one.claim.tenant)) == (one.claim.agent, one.claim.tenant)
    assert {member.address for members in found.members.values() for member in members} == set(owner)
    assert set(found.standing) | set(found.fallen) == set(rows)
    again = judged(rows[::-1], two_tenants(), gives, AT)
    assert (set(again.standing), again.members) == (set(found.standing), found.members)
