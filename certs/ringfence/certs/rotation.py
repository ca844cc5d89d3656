"""When to renew: an SVID at half of its life, an authority in steps that never leave a gap. Time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum

JITTER = 0.1  # of the half-life, to either side, so that SVIDs issued together are not renewed together
PREPARE_AT, ACTIVATE_AT = 1 / 2, 5 / 6  # of an authority's life
REFRESH_HINT = timedelta(minutes=5)  # how often partners are asked to look, at most (bundle standard 6.1: low)
_LOOKS = 5  # that partners have between a key's publication and its use (SPIFFE_Federation.md 4.1)
_SPREAD = timedelta(minutes=1)  # a new root is known to every agent for this long before it signs


class Step(Enum):
    """What an authority should do next."""

    WAIT = "wait"
    PREPARE = "prepare"
    ACTIVATE = "activate"
    PRUNE = "prune"


def renew_at(not_before: datetime, not_after: datetime, jitter: float) -> datetime:
    """Half-life, moved by *jitter* in [-1, 1] times a tenth of the half. Draw the jitter once for each SVID."""
    half = (not_after - not_before) / 2
    return not_before + half * (1 + JITTER * max(-1.0, min(1.0, jitter)))


def next_step(
    not_before: datetime,
    not_after: datetime,
    *,
    published: datetime | None,
    old_ends: Iterable[datetime],
    now: datetime,
) -> Step:
    """The step due for an authority with this life, whose successor (if any) was published when *published* says."""
    life = not_after - not_before
    if published is None:
        if now >= not_before + life * PREPARE_AT:
            return Step.PREPARE
    elif now >= _activation(not_before, not_after, published):
        return Step.ACTIVATE
    if any(now > end for end in old_ends):
        return Step.PRUNE
    return Step.WAIT


def refresh_hint(life: timedelta) -> timedelta:
    """How often others are to fetch the bundle of authorities with that *life*: each new key is seen before its use."""
    hint = min(REFRESH_HINT, life * (ACTIVATE_AT - PREPARE_AT) / _LOOKS)
    return max(hint - timedelta(microseconds=hint.microseconds), timedelta(seconds=1))


def _activation(not_before: datetime, not_after: datetime, published: datetime) -> datetime:
    # A late successor still waits until it has spread, unless the wait would outlast the authority it replaces.
    life = not_after - not_before
    spread = published + min(_SPREAD, life / 12)
    return min(max(not_before + life * ACTIVATE_AT, spread), not_after)
