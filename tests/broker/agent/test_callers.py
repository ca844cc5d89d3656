"""Attesting a caller: what is told of attestors that fail."""

from __future__ import annotations

import os

import pytest

from ringfence.broker.agent import events
from ringfence.broker.agent.callers import Callers
from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.attest.test_together import Fake


def _failures(name: str) -> int:
    return events.COUNTS["attestor_failures", name]


async def test_a_partial_failure_is_counted_and_the_rest_is_used() -> None:
    """`ringfence_agent_attestor_failures_total` names the attestor."""
    process = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
    bad = Fake("bad", fails=OSError("no"))
    callers = Callers((Fake("good"), bad), LaunchAttestor(), frozenset)
    before = _failures("bad")
    assert len(await callers._facts(process, frozenset())) == 1
    assert _failures("bad") == before + 1


async def test_when_nobody_could_tell_the_caller_is_to_try_again() -> None:
    """UNAVAILABLE, not "you have no identity", which would be a lie."""
    process = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
    callers = Callers((Fake("bad", fails=OSError("no")),), LaunchAttestor(), frozenset)
    with pytest.raises(RingfenceError) as caught:
        await callers._facts(process, frozenset())
    assert caught.value.kind is Kind.UNAVAILABLE
