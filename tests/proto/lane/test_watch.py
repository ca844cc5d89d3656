"""Tests of a connection's clock."""

from __future__ import annotations

from ringfence.proto.lane.limits import Limits
from ringfence.proto.lane.watch import Watch

LIMITS = Limits(
    hello_seconds=10, idle_seconds=100, ping_seconds=30, ping_timeout_seconds=5, resets=3, resets_per_second=1
)


def greeted() -> Watch:
    """A watch whose peer said hello at 0."""
    watch = Watch(LIMITS, 0)
    watch.greeted = True
    return watch


def test_peer_that_never_says_hello() -> None:
    """Without settings the peer is given up."""
    watch = Watch(LIMITS, 0)
    assert watch.due(10, idle=True) == ""
    assert watch.due(10.1, idle=True) == "gone"


def test_silence_is_pinged_once_and_then_given_up() -> None:
    """One ping a silence; no answer in time ends it."""
    watch = greeted()
    assert watch.due(30, idle=False) == ""
    assert watch.due(31, idle=False) == "ping"
    assert watch.due(36, idle=False) == ""
    assert watch.due(36.1, idle=False) == "gone"


def test_any_byte_answers_a_ping() -> None:
    """A peer that sends anything is there."""
    watch = greeted()
    assert watch.due(31, idle=False) == "ping"
    watch.heard = 33
    assert watch.due(40, idle=False) == ""
    assert watch.due(64, idle=False) == "ping"


def test_idle_needs_no_running_call() -> None:
    """A connection is idle after its last call, and never within one."""
    watch = greeted()
    watch.heard = watch.busy = 50
    assert watch.due(79, idle=True) == ""
    watch.heard = 149
    assert watch.due(151, idle=False) == ""
    assert watch.due(151, idle=True) == "idle"


def test_a_stranger_is_idle_sooner() -> None:
    """Who proved nothing takes a place that somebody else may need."""
    watch = Watch(Limits(idle_seconds=100, stranger_seconds=10, ping_seconds=1000), 0)
    watch.greeted = True
    assert watch.due(11, idle=True) == ""
    assert watch.due(11, idle=False, known=False) == ""
    assert watch.due(10, idle=True, known=False) == ""
    assert watch.due(11, idle=True, known=False) == "idle"


def test_resets_are_an_allowance_that_comes_back() -> None:
    """Three at once, then one a second."""
    watch = greeted()
    assert [watch.resets.take(0) for _ in range(4)] == [True, True, True, False]
    assert not watch.resets.take(1)
    assert watch.resets.take(3)
    assert [watch.resets.take(1000) for _ in range(4)] == [True, True, True, False]
