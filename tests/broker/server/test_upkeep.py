"""What a server does by itself: how often it looks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ringfence.broker.server.upkeep import interval_for


@pytest.mark.parametrize(("seconds", "interval"), [(86_400, 5.0), (300, 5.0), (30, 0.5)])
def test_authorities_that_live_for_seconds_are_looked_at_more_often(seconds: int, interval: float) -> None:
    """One that is due is replaced long before it ends, however short it lives."""
    assert interval_for(timedelta(seconds=seconds)) == interval
