"""Which server an agent uses."""

from __future__ import annotations

import random

from ringfence.broker.address import Address
from ringfence.broker.agent.ring import Ring

THREE = [Address("a", 1), Address("b", 2), Address("c", 3)]


def test_one_is_kept_until_it_fails_and_then_each_in_turn() -> None:
    """A round is over when all have been tried since one answered: only then is there reason to wait longer."""
    ring = Ring(THREE, rng=random.Random(1))  # noqa: S311  # no secret
    order = ring.every
    assert ring.address == order[0]
    assert [ring.move_on() for _ in range(4)] == [False, False, True, False]
    assert ring.address == order[1]
    ring.stay()
    assert [ring.move_on() for _ in range(3)] == [False, False, True]
    assert set(ring.every) == set(THREE)


def test_agents_spread_over_the_servers_that_they_are_told() -> None:
    """Each begins with one of its own choice."""
    firsts = {Ring(THREE, rng=random.Random(seed)).address for seed in range(20)}  # noqa: S311  # no secret
    assert firsts == set(THREE)


def test_a_single_server_is_a_round_by_itself() -> None:
    """Every failure of it lengthens the pause."""
    ring = Ring([THREE[0], THREE[0]])
    assert (len(ring), ring.move_on(), ring.address) == (1, True, THREE[0])
