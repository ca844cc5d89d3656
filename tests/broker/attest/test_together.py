"""All attestors at once: who is asked, what a slow or failing one costs, and what is told of it."""

from __future__ import annotations

import asyncio
import os

import pytest

from ringfence.broker.attest import procfs
from ringfence.broker.attest.from_cgroup import path_attestors
from ringfence.broker.attest.port import Partly, WorkloadAttestor
from ringfence.broker.attest.procfs import Process
from ringfence.broker.attest.together import ask_all
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector


class Fake:
    """An attestor that waits for another to have begun, then answers or fails."""

    def __init__(self, name: str, *facts: str, fails: Exception | None = None) -> None:
        self.name = name
        self.facts = frozenset(facts)
        self.asked = 0
        self.begun = asyncio.Event()
        self.after: asyncio.Event | None = None
        self._fails = fails

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:  # noqa: ARG002  # the port's
        """One selector with its name."""
        self.asked += 1
        self.begun.set()
        if self.after is not None:
            await self.after.wait()
        if self._fails is not None:
            raise self._fails
        return frozenset({Selector("unix", f"user:{self.name}")})


@pytest.fixture
def process() -> Process:
    """Our own, held."""
    return procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)


def _users(found: frozenset[Selector]) -> set[str]:
    return {selector.value.removeprefix("user:") for selector in found}


async def test_only_those_are_asked_whose_facts_are_wanted(process: Process) -> None:
    """One that names no facts is asked always."""
    always, wanted, idle = Fake("always"), Fake("wanted", "docker:container_id"), Fake("idle", "slurm:job_id")
    found, failures = await ask_all((always, wanted, idle), process, frozenset({"docker:container_id"}))
    assert (_users(found), failures, idle.asked) == ({"always", "wanted"}, {}, 0)


async def test_they_run_at_the_same_time(process: Process) -> None:
    """Each waits here until the other has begun."""
    one, two = Fake("one"), Fake("two")
    one.after, two.after = two.begun, one.begun
    async with asyncio.timeout(20):
        found, _ = await ask_all((one, two), process, frozenset())
    assert _users(found) == {"one", "two"}


@pytest.mark.parametrize("error", [RingfenceError(Kind.DENIED, "no"), OSError("no"), ValueError("a bug")])
async def test_one_that_fails_costs_its_own_selectors_only(process: Process, error: Exception) -> None:
    """Whatever it raises, and it is named."""
    found, failures = await ask_all((Fake("good"), Fake("bad", fails=error)), process, frozenset())
    assert (_users(found), failures) == ({"good"}, {"bad": error})


async def test_what_a_failing_one_could_tell_is_used(process: Process) -> None:
    """And that it failed is shown all the same."""
    partly = Partly("old news", frozenset({Selector("unix", "user:partly")}))
    found, failures = await ask_all((Fake("good"), Fake("bad", fails=partly)), process, frozenset())
    assert (_users(found), failures) == ({"good", "partly"}, {"bad": partly})


async def test_one_that_hangs_is_given_up_at_the_deadline(process: Process) -> None:
    """The others' answers are used, and the deadline is what it failed by."""
    slow = Fake("slow")
    slow.after = asyncio.Event()
    found, failures = await ask_all((Fake("good"), slow), process, frozenset(), seconds=0.05)
    assert _users(found) == {"good"}
    assert isinstance(failures["slow"], RingfenceError)
    assert failures["slow"].kind is Kind.TIMEOUT


async def test_nobody_to_ask_is_nothing_found(process: Process) -> None:
    """Nor is it a failure."""
    assert await ask_all((), process, frozenset()) == (frozenset(), {})


async def test_the_path_attestors_read_this_process(process: Process) -> None:
    """Against the real /proc they fail by nothing, and say only what is wanted."""
    attestors: tuple[WorkloadAttestor, ...] = path_attestors()
    wanted = frozenset().union(*(attestor.facts for attestor in attestors))
    found, failures = await ask_all(attestors, process, wanted)
    assert failures == {}
    assert all(f"{s.kind}:{s.value.partition(':')[0]}" in wanted for s in found)
