"""When to renew, and the next step of an authority."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.rotation import ACTIVATE_AT, PREPARE_AT, Step, next_step, refresh_hint, renew_at
from tests.certs.material import HOUR, MINUTE, NOW, SECOND

_START, _END = NOW, NOW + 24 * HOUR


@pytest.mark.parametrize(
    ("jitter", "minutes"), [(0.0, 30.0), (1.0, 33.0), (-1.0, 27.0), (0.5, 31.5), (9.0, 33.0), (-9.0, 27.0)]
)
def test_an_svid_is_renewed_at_half_its_life_more_or_less(jitter: float, minutes: float) -> None:
    """The jitter moves it by up to a tenth of the half, and no value of it by more."""
    assert renew_at(NOW, NOW + HOUR, jitter) == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("hours", "published", "step"),
    [
        (0, None, Step.WAIT),
        (11.99, None, Step.WAIT),
        (12, None, Step.PREPARE),
        (30, None, Step.PREPARE),
        (13, 12, Step.WAIT),
        (19.99, 12, Step.WAIT),
        (20, 12, Step.ACTIVATE),
        (21, 21, Step.WAIT),
        (21.02, 21, Step.ACTIVATE),
        (24, 23.999, Step.ACTIVATE),
        (-5, None, Step.WAIT),
    ],
)
def test_an_authority_is_prepared_at_half_and_activated_at_five_sixths(
    hours: float, published: float | None, step: Step
) -> None:
    """A late successor is known for a minute before it signs, unless its predecessor ends first."""
    moment = None if published is None else _START + published * HOUR
    assert next_step(_START, _END, published=moment, old_ends=(), now=_START + hours * HOUR) is step


def test_old_generations_are_pruned_once_their_last_svid_has_ended() -> None:
    """Validity includes its end: pruning comes a moment later, and after anything more urgent."""
    ends = NOW + HOUR
    assert next_step(_START, _END, published=None, old_ends=[ends], now=ends) is Step.WAIT
    assert next_step(_START, _END, published=None, old_ends=[ends], now=ends + SECOND) is Step.PRUNE
    assert next_step(_START, _END, published=None, old_ends=[ends], now=NOW + 13 * HOUR) is Step.PREPARE


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(60, 10**8), st.floats(-1, 1))  # noqa: DTZ001
def test_renewal_always_leaves_time(starts: datetime, seconds: int, jitter: float) -> None:
    """Whatever the life, renewal falls between 45 % and 55 % of it."""
    life = timedelta(seconds=seconds)
    assert 0.449 < (renew_at(starts, starts + life, jitter) - starts) / life < 0.551


def test_a_short_lived_authority_spreads_faster() -> None:
    """With a life of two minutes the spread is ten seconds, not a minute."""
    ends = NOW + 2 * MINUTE
    late = NOW + 105 * SECOND
    assert next_step(NOW, ends, published=late, old_ends=(), now=late + 9 * SECOND) is Step.WAIT
    assert next_step(NOW, ends, published=late, old_ends=(), now=late + 10 * SECOND) is Step.ACTIVATE


@pytest.mark.parametrize(
    ("life", "hint"),
    [
        (timedelta(hours=24), timedelta(minutes=5)),
        (timedelta(minutes=10), timedelta(seconds=40)),
        (timedelta(seconds=3), timedelta(seconds=1)),
    ],
)
def test_partners_look_five_times_before_a_new_key_signs(life: timedelta, hint: timedelta) -> None:
    """SPIFFE_Federation.md 4.1: published 3 to 5 refreshes ahead; at least every 5 minutes."""
    assert refresh_hint(life) == hint
    if life > timedelta(minutes=1):
        assert 5 * hint <= life * (ACTIVATE_AT - PREPARE_AT)
