"""The collector of daemons: off while they import, and then seldom."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ringfence.broker.collector import importing


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("_as_it_was")
def test_it_rests_while_a_daemon_imports() -> None:
    """What was imported is looked at no more, and young objects seldom."""
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] > 10_000
