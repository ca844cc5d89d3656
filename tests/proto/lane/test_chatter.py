"""Tests of what frames cost that carry nothing, and of the allowance that they are paid from."""

from __future__ import annotations

import pytest

from ringfence.proto.lane.chatter import Allowance, cost
from tests.proto.lane import raw


def test_an_allowance_comes_back_with_time_and_never_past_the_most() -> None:
    """Ten at once, two a second; a debt is worked off before anything is allowed again."""
    allowance = Allowance(10, 2, 0)
    assert allowance.take(0, 10)
    assert not allowance.take(0)
    assert not allowance.take(0.5, 3)  # the debt is 3 now
    assert not allowance.take(1.5, 2)
    assert allowance.take(3.5)
    assert [allowance.take(1000, 5) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (raw.data(1, b"x"), 0),
        (raw.data(1, b"", end=True), 0),
        (raw.data(1, b""), 1),
        (raw.headers(1, []), 0),
        (raw.frame(raw.CONTINUATION, 0, 1), 0),
        (raw.reset(1), 0),
        (raw.frame(raw.PING, 0, 0, bytes(8)), 1),
        (raw.frame(raw.PING, raw.ACK, 0, bytes(8)), 1),
        (raw.frame(2, 0, 1, bytes(5)), 1),
        (raw.frame(99, 0, 0), 1),
        (raw.frame(raw.SETTINGS, 0, 0), 1),
        (raw.settings(initial_window=1), 8),
        (raw.settings(initial_window=1, max_frame=16_384), 15),
        (raw.window(0, 1_024), 0),
        (raw.window(1, 1_023), 4),
        (raw.frame(raw.WINDOW_UPDATE, 0, 1, b""), 4),
    ],
)
def test_frames_cost_about_what_they_make_us_do(frame: bytes, expected: int) -> None:
    """With seven open streams, of which three wait for the connection's window."""
    assert cost(frame[3], frame[4], frame[9:], streams=7, waiting=3) == expected
