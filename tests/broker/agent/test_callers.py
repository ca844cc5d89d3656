"""Attesting a caller: what is told of attestors that fail."""

from __future__ import annotations

import asyncio
import os

import pytest

from ringfence.broker.agent import events
from ringfence.broker.agent.callers import Callers
from ringfence.broker.attest import procfs
from ringfence.broker.attest.k8s import uid_selector
from ringfence.broker.attest.k8s_pods import Pods
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from tests.broker.attest.pods import OTHER_UID, UID, pod
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


class _InPod:
    """An attestor that finds a pod, once it is let."""

    name = "k8s"
    facts: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:  # noqa: ARG002  # the port's
        await self.let.wait()
        return frozenset({uid_selector(UID)})


async def test_who_is_in_a_pod_that_changed_is_to_be_attested_again() -> None:
    """Nobody else, and whoever listens is told after that is known."""
    process = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
    pods, attestor, told = Pods(), _InPod(), []
    attestor.let.set()
    callers = Callers((attestor,), LaunchAttestor(), frozenset)
    callers.follow(pods, lambda: told.append(caller.outdated))
    caller = await callers.attest(process)
    pods.put(pod(OTHER_UID, "another"))
    pods.put(pod(UID))
    assert told == [False, True]
    assert not caller.is_current(frozenset())
    assert (await callers.again(caller)).is_current(frozenset())


async def test_a_change_while_somebody_is_attested_is_not_missed() -> None:
    """It may have come after that pod was looked at."""
    process = procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)
    pods, attestor = Pods(), _InPod()
    callers = Callers((attestor,), LaunchAttestor(), frozenset)
    callers.follow(pods, lambda: None)
    attesting = asyncio.create_task(callers.attest(process))
    await asyncio.sleep(0)
    pods.put(pod(UID))
    attestor.let.set()
    assert (await attesting).outdated
