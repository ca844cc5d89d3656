"""When bundles are fetched: by their hints, and sooner for a key that somebody missed, but not at a stranger's pace."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.federation.relation import Profile, Relation
from ringfence.broker.federation.schedule import LATEST, SOONEST, Timetable
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.world import START

B, C = TrustDomain("b.test"), TrustDomain("c.test")
HINT, SECOND = timedelta(minutes=5), timedelta(seconds=1)


def relation(domain: TrustDomain = B) -> Relation:
    """With an endpoint of its own."""
    return Relation(domain, f"https://{domain}/", Profile.WEB)


def fetched_at_start(*domains: TrustDomain) -> Timetable:
    """These have been fetched at START."""
    made = Timetable()
    for domain in domains or (B,):
        made.add(relation(domain), START)
        made.fetched(relation(domain), START, START, HINT)
    return made


def test_a_hint_says_when_within_bounds() -> None:
    """Never sooner than five seconds, never later than a day."""
    made = fetched_at_start()
    for hint, pause in ((HINT, HINT), (timedelta(0), SOONEST), (timedelta(days=9), LATEST)):
        assert made.fetched(relation(), START, START, hint).next_at == START + pause


def test_a_failure_is_kept_and_waits_for_the_next_interval() -> None:
    """Of this very relation only: the failure of one that is gone says nothing of the one that took its place."""
    made = fetched_at_start()
    made.failed(relation(), START, START + SECOND, HINT, "away")
    assert (made.state(B).failure, made.state(B).next_at) == ("away", START + SECOND + HINT)
    before = made.state(B)
    made.failed(replace(relation(), url="https://elsewhere.test/"), START, START, HINT, "gone")
    assert made.state(B) == before


def test_a_missed_key_is_looked_for_at_once() -> None:
    """And then by the hint again."""
    made = fetched_at_start(B, C)
    now = START + SECOND
    assert made.hasten(B, now)
    assert made.due(now) == (B,)
    assert made.is_hastened(B)
    assert not made.is_hastened(C)
    made.fetched(relation(), now, now, HINT)
    assert made.due(now) == ()
    assert not made.is_hastened(B)


def test_a_second_one_within_the_bound_is_looked_for_when_that_is_over() -> None:
    """It may be the true one: the first may have been a stranger's."""
    made = fetched_at_start()
    made.hasten(B, START)
    made.fetched(relation(), START, START, HINT)
    assert made.hasten(B, START + SECOND)
    assert not made.hasten(B, START + 2 * SECOND)  # it is on its way already
    assert made.next_at() == START + SOONEST
    assert made.is_hastened(B)


def test_a_key_that_is_missed_while_a_bundle_is_under_way_has_it_fetched_again() -> None:
    """What is under way may have been written before the key was made."""
    made = fetched_at_start()
    began, missed, done = START + SECOND, START + 2 * SECOND, START + 3 * SECOND
    made.hasten(B, missed)
    made.fetched(relation(), began, done, HINT)
    assert made.due(done) == (B,)
    made.fetched(relation(), done, done, HINT)
    made.failed(relation(), done, done, HINT, "away")
    assert made.due(done) == ()


def test_a_failed_fetch_does_not_forget_a_key_that_was_missed_since_it_began() -> None:
    """As one that succeeds does not."""
    made = fetched_at_start()
    made.hasten(B, START + 2 * SECOND)
    made.failed(relation(), START + SECOND, START + 3 * SECOND, HINT, "away")
    assert made.due(START + 3 * SECOND) == (B,)


def test_a_bundle_that_is_due_anyway_is_not_put_off() -> None:
    """The bound is for what is out of turn."""
    made = fetched_at_start()
    made.hasten(B, START)
    made.fetched(relation(), START, START, SOONEST - SECOND)
    due = made.state(B).next_at
    made.hasten(B, START + SECOND)
    assert made.state(B).next_at <= due


def test_nobody_is_fetched_with_whom_there_is_no_relation() -> None:
    """Whatever a peer calls itself; and a relation that ended is forgotten."""
    made = fetched_at_start()
    assert not made.hasten(C, START)
    assert made.due(START + HINT) == (B,)
    made.remove(B)
    assert not made.hasten(B, START)
    assert made.next_at() is None
    with pytest.raises(RingfenceError) as caught:
        made.state(B)
    assert caught.value.kind is Kind.NOT_FOUND


def test_what_another_server_changed_is_followed() -> None:
    """How a relation stands stays, one that is new is due, one that is gone is not there."""
    made = fetched_at_start()
    known = made.state(B)
    made.follow([relation(), relation(C)], START + SECOND)
    assert made.state(B) is known
    assert made.due(START + SECOND) == (C,)
    made.follow([relation(C)], START + SECOND)
    assert B not in made
    assert [state.relation for state in made.states] == [relation(C)]


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=60).map(sorted))
def test_however_often_keys_are_missed_a_partner_is_asked_once_in_five_seconds(missed: list[int]) -> None:
    """Milliseconds at which strangers show up: fetches are apart, and each that shows up is followed by one in time."""
    made = fetched_at_start()
    times = [START + timedelta(milliseconds=ms) for ms in missed]
    fetches = []
    for at in [*times, times[-1] + SOONEST]:
        while (due := made.next_at()) is not None and due <= at:
            fetches.append(due)
            made.fetched(relation(), due, due, HINT)
        if at in times:
            made.hasten(B, at)
    assert all(later - earlier >= SOONEST for earlier, later in pairwise(fetches))
    for at in times:
        assert any(at <= fetch <= at + SOONEST for fetch in fetches)
