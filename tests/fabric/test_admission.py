"""What a server writes of the claims of its nodes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hypothesis import given as drawn
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.admission import MOST_CLAIMS, Steps, next_renewal, steps
from ringfence.fabric.claims import Claim, Given, judge
from ringfence.fabric.membership import GRACE, LEASE, Judged, Owners, Standing, judged
from tests.fabric.claims import AGENT, AT, claim, evaluation, given, refused, standing, two_tenants

A, B = AGENT.format(1), AGENT.format(2)
ME = "me"


def mine(one: Claim, since: int = AT, **fields: int) -> Standing:
    """It, admitted by this server."""
    return replace(standing(one, since, **fields), server=ME)


def due(
    asked: dict[str, tuple[Claim, ...]], stored: list[Standing], now: int = AT, gives: Given = given, me: str = ME
) -> Steps:
    """What is to be written."""
    leave = two_tenants()
    return steps(
        asked, stored, judged(stored, leave, gives, now), partial(judge, leave=leave, given=gives), now=now, me=me
    )


def test_a_claim_that_stands_is_written_once() -> None:
    """As this server's, for a lease from now; what is written already is left alone."""
    asked = {A: (claim(1),), B: (evaluation(2),)}

    first = due(asked, [])

    assert first.put == (mine(claim(1)), mine(evaluation(2)))
    assert due(asked, list(first.put), AT + 9) == Steps((), (), {})


def test_what_its_node_claims_no_more_goes() -> None:
    """And nothing of a node that has not said yet what it claims."""
    rows = [mine(claim(1)), mine(claim(2))]

    done = due({A: ()}, rows)

    assert done.gone == ((rows[0], "its node claims it no more"),)
    assert not done.put


def test_a_claim_without_leave_is_refused_and_goes_if_it_stood() -> None:
    """With the reason; of a node that is away by its server, and by no other one that lives."""
    row = mine(claim(1))

    assert due({A: (claim(1),)}, [], gives=refused).refused[claim(1)].detail == "it has no such entry"
    both = due({A: (claim(1),)}, [row], gives=refused)
    assert (both.put, both.gone) == ((), ((row, "it has no such entry"),))
    assert due({}, [row], gives=refused).gone == ((row, "it has no such entry"),)
    assert due({}, [row], gives=refused, me="other").gone == ()
    orphan = replace(row, server="")
    assert due({}, [orphan], gives=refused, me="other").gone == ((orphan, "it has no such entry"),)


def test_addresses_that_change_are_judged_anew() -> None:
    """The claim is as old as before; with one that another node has, nothing of it stands."""
    rows = [mine(claim(1), AT - 5), mine(claim(2))]

    moved = due({A: (claim(1, "192.168.50.9"),)}, rows)
    assert moved.put == (mine(claim(1, "192.168.50.9"), AT - 5, until=AT + LEASE),)
    taken = due({A: (claim(1, "192.168.50.2", "192.168.50.1"),)}, rows)
    assert (taken.put, taken.gone[0][0]) == ((), rows[0])
    assert [error.kind for error in taken.refused.values()] == [Kind.CONFLICT]


def test_a_node_that_is_back_has_no_time_to_go_any_more() -> None:
    """In its grace it was a member all the time; after that it is one anew. So is one that came from another server."""
    away = mine(claim(1), AT - 100, leaves=AT + GRACE)

    assert due({A: (claim(1),)}, [away]).put == (mine(claim(1), AT - 100, until=AT + LEASE),)
    assert due({A: (claim(1),)}, [away], AT + GRACE).put == (mine(claim(1), AT + GRACE),)
    elsewhere = replace(mine(claim(1)), server="other")
    assert due({A: (claim(1),)}, [elsewhere]).put == (mine(claim(1)),)
    assert due({}, [away], AT + GRACE).gone == ((away, f"its node did not come back within {GRACE} s"),)


def test_a_node_that_is_back_too_late_does_not_have_its_address_again() -> None:
    """Another one has it by now: it is refused, and what was stored of it goes."""
    late, other = mine(claim(1), AT - 100, leaves=AT - 1), mine(claim(2, "192.168.50.1"))

    done = due({A: (claim(1),)}, [late, other])

    assert (done.put, [row for row, _ in done.gone]) == ((), [late])
    assert "192.168.50.1 is that of node" in done.refused[claim(1)].detail


def test_an_address_may_change_hands_within_one_word_of_a_node() -> None:
    """From a job of one tenant to one of another, without a moment in both."""
    done = due({A: (evaluation(1),)}, [mine(claim(1))])

    assert ([one.claim for one in done.put], [row.claim for row, _ in done.gone]) == ([evaluation(1)], [claim(1)])


def test_leases_are_renewed_together_when_the_first_is_half_over() -> None:
    """Nodes hear of it once, and not again for each of them; the newest are left alone."""
    ages = {1: LEASE // 2, 2: LEASE // 3, 3: 5}
    rows = [mine(claim(node), AT - age) for node, age in ages.items()]
    asked = {AGENT.format(node): (claim(node),) for node in ages}

    assert [one.claim for one in due(asked, rows).put] == [claim(1), claim(2)]
    assert due(asked, rows, AT - 1).put == ()
    assert next_renewal(asked, rows) == AT
    assert next_renewal({}, rows) is None


def test_a_node_has_so_many_claims_and_no_more() -> None:
    """Those that are too many are refused, each with the reason."""
    claims = tuple(claim(1, entry_id=f"e{number}") for number in range(MOST_CLAIMS + 2))

    done = due({A: claims}, [])

    assert len(done.put) == MOST_CLAIMS
    assert set(done.refused) == set(claims[MOST_CLAIMS:])
    assert {error.kind for error in done.refused.values()} == {Kind.EXHAUSTED}


claims = st.builds(
    lambda node, last, b: (evaluation if b else claim)(node, f"192.168.50.{last}"),
    node=st.integers(1, 3),
    last=st.integers(1, 4),
    b=st.booleans(),
)
turns = st.lists(
    st.tuples(st.lists(claims, max_size=4), st.sets(st.integers(1, 3)), st.integers(0, LEASE), st.booleans()),
    max_size=6,
)


@drawn(turns)
def test_whatever_nodes_claim_each_claim_is_written_or_refused_and_then_there_is_nothing_left(
    turns: list[tuple[list[Claim], set[int], int, bool]],
) -> None:
    """No address is ever that of two nodes or tenants, and what is done once is done."""
    stored: dict[object, Standing] = {}
    now = AT
    for said, connected, later, is_banned in turns:
        now += later

        def gives(one: Claim, *, banned: bool = is_banned) -> tuple[SpiffeId, int]:
            if banned and one.agent == B:
                raise RingfenceError(Kind.DENIED, "it is banned")
            return given(one)

        unique = {one.key: one for one in said}
        asked = {
            AGENT.format(node): tuple(one for one in unique.values() if one.agent == AGENT.format(node))
            for node in connected
        }
        for _ in range(3):  # what one node loses another one may have next
            done = due(asked, list(stored.values()), now, gives)
            for one, _why in done.gone:
                assert stored.pop(one.claim.key) == one
            stored |= {one.claim.key: one for one in done.put}
        assert not done.put
        assert not done.gone
        owners = Owners()
        for one in stored.values():
            owners.take(one.claim)
        for agent, wanted in asked.items():
            assert {one.claim for one in stored.values() if one.claim.agent == agent} == set(wanted) - set(done.refused)
        assert due({}, list(stored.values()), now, gives, me="another") == Steps((), (), {})


def test_nothing_is_to_be_done_where_nobody_claims() -> None:
    """As at a server without fabrics."""
    assert steps({}, [], Judged(), lambda _: 0, now=AT, me=ME) == Steps((), (), {})
