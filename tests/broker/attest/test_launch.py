"""Whom a launcher vouches for: its own tree, and nobody else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import Launch, LaunchAttestor
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.harness import AgentUnderTest, running_agent
from tests.broker.attest.children import FETCHER, LAUNCHER, child
from tests.broker.server.harness import ServerUnderTest, running_server

TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
INTENT = f"""
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {{name: trainer, namespace: team-a}}
spec:
  role: training
  launch: {{by: [{{unix.uid: {os.geteuid()}}}]}}
"""
pytestmark = pytest.mark.e2e


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server whose intent lets this user launch team-a/trainer."""
    async with running_server(tmp_path) as running:
        response = await running.apply({"intent.yaml": INTENT})
        assert not [finding for finding in response.findings if finding.level == "error"]
        yield running


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest) -> AsyncIterator[AgentUnderTest]:
    """Its agent; it holds for as long as a child takes to start."""
    async with running_agent(tmp_path, server, hold=20.0) as running:
        yield running


@pytest.fixture
async def brief(tmp_path: Path, server: ServerUnderTest) -> AsyncIterator[AgentUnderTest]:
    """An agent that hardly holds."""
    async with running_agent(tmp_path, server, hold=0.3) as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path) -> str:
    """The path of a program that fetches."""
    path = tmp_path / "fetcher.py"
    path.write_text(FETCHER)
    return str(path)


def _launcher(agent: AgentUnderTest, name: str = "trainer") -> tuple[str, ...]:
    return (f"{agent.socket}.admin", "team-a", name, str(agent.socket))


async def test_a_daemonised_grandchild_is_of_the_tree(agent: AgentUnderTest, fetcher: str) -> None:
    """Setsid and a double fork do not lead out of a launcher's tree; the launcher's end ends the identity."""
    async with child(LAUNCHER, *_launcher(agent)) as launcher:
        assert await launcher.line() == "accepted"
        launcher.say(fetcher)
        assert await launcher.line() == TRAINER
        launcher.kill()
        assert await launcher.line() == "PERMISSION_DENIED"


async def test_a_stranger_is_not_of_the_tree(brief: AgentUnderTest) -> None:
    """A process of the same user that no launcher started gets nothing while one vouches for others."""
    async with child(LAUNCHER, *_launcher(brief)) as launcher:
        assert await launcher.line() == "accepted"
        async with child(FETCHER, str(brief.socket)) as stranger:
            assert await stranger.line() == "PERMISSION_DENIED"


async def test_a_launch_without_a_rule_is_denied(brief: AgentUnderTest) -> None:
    """Nobody may vouch for a workload whose intent names no launcher, or for one that does not exist."""
    async with child(LAUNCHER, *_launcher(brief, "unknown")) as launcher:
        assert (await launcher.line()).startswith("PERMISSION_DENIED no intent lets anybody launch team-a/unknown")


async def test_a_launch_by_another_user_is_denied(server: ServerUnderTest, brief: AgentUnderTest) -> None:
    """A launcher that the rule does not name is denied, though the rule is there."""
    await server.apply({"intent.yaml": INTENT.replace(f"unix.uid: {os.geteuid()}", "unix.uid: 54321")})
    async with child(LAUNCHER, *_launcher(brief)) as launcher:
        assert (await launcher.line()).startswith("PERMISSION_DENIED this process may not launch")


async def test_a_rule_that_goes_ends_the_launch(server: ServerUnderTest, agent: AgentUnderTest, fetcher: str) -> None:
    """When the intent allows the launch no more, the tree's streams end."""
    async with child(LAUNCHER, *_launcher(agent)) as launcher:
        assert await launcher.line() == "accepted"
        launcher.say(fetcher)
        assert await launcher.line() == TRAINER
        await server.apply({"intent.yaml": INTENT.replace(f"unix.uid: {os.geteuid()}", "unix.uid: 54321")})
        assert await launcher.line() == "PERMISSION_DENIED"


def _own() -> procfs.Process:
    return procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)


def test_a_launcher_vouches_once() -> None:
    """One process vouches for one workload at a time; after its release it may vouch again."""
    launches, own = LaunchAttestor(), _own()
    first = Launch("team-a", "trainer", own)
    launches.register(first)
    with pytest.raises(RingfenceError) as caught:
        launches.register(Launch("team-b", "notebook", own))
    assert caught.value.kind is Kind.CONFLICT
    launches.release(first)
    launches.register(Launch("team-b", "notebook", own))


async def test_the_launcher_itself_is_of_its_tree() -> None:
    """The chain starts with the process itself: `run` asks for the SVID that it vouches for."""
    launches, own = LaunchAttestor(), _own()
    assert await launches.attest(own, frozenset()) == frozenset()
    launches.register(Launch("team-a", "trainer", own))
    found = {str(selector) for selector in await launches.attest(own, frozenset())}
    assert found == {"launch:namespace:team-a", "launch:name:trainer"}


def test_a_pid_with_another_start_time_is_no_launcher() -> None:
    """A process that got a dead launcher's pid has another start time, and vouches for nobody."""
    launches, own = LaunchAttestor(), _own()
    launches.register(Launch("team-a", "trainer", own))
    reused = [(own.pid, own.started + 1)]
    assert launches.launch_of(own, reused) is None
