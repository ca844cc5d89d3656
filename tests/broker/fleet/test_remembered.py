"""What a proxy refused is known when it comes back, and costs a bounded amount of memory."""

from __future__ import annotations

from ringfence.broker.fleet.remembered import Remembered
from ringfence.xds.quarantine import Refusals
from ringfence.xds.types import EXTENSION_CONFIG

REFUSED = {EXTENSION_CONFIG: Refusals({("a", "1"): "no"}, {})}


def test_the_last_stream_of_a_proxy_counts() -> None:
    """And one that refuses nothing any more forgets what the one before it refused."""
    remembered = Remembered()
    remembered.leave("n", REFUSED)
    assert remembered.of("n") == remembered.of("n") == REFUSED
    assert remembered.of("m") == {}
    remembered.leave("n", {})
    assert remembered.of("n") == {}


def test_those_that_left_first_are_forgotten() -> None:
    """Proxies have new names each time they are started: they are not kept for ever."""
    remembered = Remembered(most=2)
    for node in ("a", "b", "a", "c"):
        remembered.leave(node, REFUSED)
    assert [bool(remembered.of(node)) for node in "abc"] == [True, False, True]
