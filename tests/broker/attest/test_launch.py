"""Whom a launcher vouches for: its own tree, and nobody else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.agent import events
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.attest import process_trees, procfs
from ringfence.broker.attest.launch import Launch, LaunchAttestor, Lineage
from ringfence.broker.attest.launch_folder import LaunchFolder, enter
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.agent.harness import AgentUnderTest, running_agent
from tests.broker.attest.cgroups import NOWHERE, Doer, clear, doer, move, unified
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


@pytest.fixture(params=["cgroup", "parent chain"])
def by(request: pytest.FixtureRequest) -> str:
    """What the agent knows trees by: it can make cgroups, or it can't."""
    if request.param == "cgroup":
        unified()
    return str(request.param)


@pytest.fixture
def folders(by: str) -> LaunchFolders:
    """Real cgroups, or none that can be made."""
    return LaunchFolders() if by == "cgroup" else LaunchFolders(lambda: NOWHERE)


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest, folders: LaunchFolders) -> AsyncIterator[AgentUnderTest]:
    """Its agent; it holds for as long as a child takes to start."""
    async with running_agent(tmp_path, server, folders=folders, hold=20.0) as running:
        yield running


@pytest.fixture
async def brief(tmp_path: Path, server: ServerUnderTest, folders: LaunchFolders) -> AsyncIterator[AgentUnderTest]:
    """An agent that hardly holds."""
    async with running_agent(tmp_path, server, folders=folders, hold=0.3) as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path) -> str:
    """The path of a program that fetches."""
    path = tmp_path / "fetcher.py"
    path.write_text(FETCHER)
    return str(path)


def _launcher(agent: AgentUnderTest, name: str = "trainer") -> tuple[str, ...]:
    return (f"{agent.socket}.admin", "team-a", name, str(agent.socket))


async def test_a_daemonised_grandchild_is_of_the_tree(agent: AgentUnderTest, fetcher: str, by: str) -> None:
    """Setsid and a double fork do not lead out of a launcher's tree; the launcher's end ends the identity.

    Where there is a cgroup it ends the process too, which may come before it hears of the denial.
    """
    registered = events.COUNTS["launches", by]
    async with child(LAUNCHER, *_launcher(agent)) as launcher:
        assert await launcher.line() == "accepted"
        assert events.COUNTS["launches", by] == registered + 1
        launcher.say(fetcher)
        assert await launcher.line() == TRAINER
        launcher.kill()
        assert await launcher.line() in (("PERMISSION_DENIED", "") if by == "cgroup" else ("PERMISSION_DENIED",))


async def test_who_is_moved_out_of_the_cgroup_loses_the_identity(
    server: ServerUnderTest, tmp_path: Path, fetcher: str
) -> None:
    """Root moved it, so it is not the launch's any more: its stream ends with the next message, parents or not."""
    home = unified()
    async with running_agent(tmp_path, server, hold=20.0) as agent, child(LAUNCHER, *_launcher(agent)) as launcher:
        assert await launcher.line() == "accepted"
        launcher.say(fetcher)
        assert await launcher.line() == TRAINER
        (folder,) = home.glob(f"ringfence-launch.*.{launcher.process.pid}.*")
        for pid in (folder / "cgroup.procs").read_text().split():
            move(int(pid), home)
        await server.create_entry("spiffe://example.org/ns/a/sa/w", "launch:name:trainer")
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


JOB = INTENT.replace("role: training", "job: llm")


async def test_a_rank_is_who_its_launcher_says(server: ServerUnderTest, agent: AgentUnderTest, fetcher: str) -> None:
    """Each of two launchers of one job has the identity of its own rank, and no more."""
    await server.apply({"intent.yaml": JOB})
    launcher = (*_launcher(agent), "7"), (*_launcher(agent), "0")
    async with child(LAUNCHER, *launcher[0]) as seven, child(LAUNCHER, *launcher[1]) as zero:
        assert await seven.line() == await zero.line() == "accepted"
        seven.say(fetcher)
        assert await seven.line() == "spiffe://example.org/ns/team-a/job/llm/rank/7"
        zero.say(fetcher)
        assert await zero.line() == "spiffe://example.org/ns/team-a/job/llm/rank/0"


@pytest.mark.parametrize(
    ("intent", "rank", "says"),
    [
        (INTENT, ("1",), "team-a/trainer is no job"),
        (JOB, (), "team-a/trainer is the job llm: say which rank"),
        (JOB, ("1000000",), "1000000 is no rank"),
    ],
)
async def test_a_launch_says_a_rank_if_and_only_if_it_is_of_a_job(
    server: ServerUnderTest, brief: AgentUnderTest, intent: str, rank: tuple[str, ...], says: str
) -> None:
    """Refused before anything is vouched for, since it would be somebody else than its launcher thinks."""
    await server.apply({"intent.yaml": intent})
    async with child(LAUNCHER, *_launcher(brief), *rank) as launcher:
        assert (await launcher.line()).startswith(f"INVALID_ARGUMENT {says}")


async def test_one_rank_is_revoked_alone(server: ServerUnderTest, agent: AgentUnderTest, fetcher: str) -> None:
    """Its open streams end, and it is given nothing until that is lifted; the other rank goes on."""
    await server.apply({"intent.yaml": JOB})
    seven_id, zero_id = (f"spiffe://example.org/ns/team-a/job/llm/rank/{rank}" for rank in (7, 0))
    async with (
        child(LAUNCHER, *_launcher(agent), "7") as seven,
        child(LAUNCHER, *_launcher(agent), "0") as zero,
        child(LAUNCHER, *_launcher(agent), "7") as again,
        child(LAUNCHER, *_launcher(agent), "7") as lifted,
    ):
        for launcher in (seven, zero, again, lifted):
            assert await launcher.line() == "accepted"
        for launcher, name in ((seven, seven_id), (zero, zero_id)):
            launcher.say(fetcher)
            assert await launcher.line() == name
        await server.admin.RevokeIdentities(admin_pb2.RevokeIdentitiesRequest(spiffe_ids=[seven_id]))
        assert await seven.line() == "PERMISSION_DENIED"
        again.say(fetcher)
        assert await again.line() == "PERMISSION_DENIED"
        await server.create_entry("spiffe://example.org/ns/a/sa/zero", "launch:rank:0")
        while (line := await zero.line()) == zero_id:  # told again, with the list of what is revoked
            pass
        assert line.split() == [zero_id, "spiffe://example.org/ns/a/sa/zero"]
        await server.admin.LiftRevocations(admin_pb2.LiftRevocationsRequest(spiffe_ids=[seven_id]))
        lifted.say(fetcher)
        assert await lifted.line() == seven_id


async def test_a_launch_ends_when_its_workload_becomes_a_job(
    server: ServerUnderTest, agent: AgentUnderTest, fetcher: str
) -> None:
    """Without a rank it is nobody of that; and a job of another name has other ranks."""
    async with child(LAUNCHER, *_launcher(agent)) as launcher:
        assert await launcher.line() == "accepted"
        launcher.say(fetcher)
        assert await launcher.line() == TRAINER
        await server.apply({"intent.yaml": JOB})
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


async def test_a_rank_is_one_selector_more() -> None:
    """Rank 0 is a rank too."""
    launches, own = LaunchAttestor(), _own()
    launches.register(Launch("team-a", "trainer", own, rank=0))
    found = {str(selector) for selector in await launches.attest(own, frozenset())}
    assert found == {"launch:namespace:team-a", "launch:name:trainer", "launch:rank:0"}


def test_a_pid_with_another_start_time_is_no_launcher() -> None:
    """A process that got a dead launcher's pid has another start time, and vouches for nobody."""
    launches, own = LaunchAttestor(), _own()
    launches.register(Launch("team-a", "trainer", own))
    assert launches.launch_of(own, Lineage("/", ((own.pid, own.started),)))
    assert launches.launch_of(own, Lineage("/", ((own.pid, own.started + 1),))) is None


@contextmanager
def _launched(doer: Doer, name: str = "trainer") -> Iterator[Launch]:
    folder = enter(doer.held, "team-a", name, process_trees.unified_mounts())
    try:
        yield Launch("team-a", name, doer.held, folder)
    finally:
        clear(folder.directory)


def _hold(pid: int) -> procfs.Process:
    return procfs.hold(pid, os.geteuid(), os.getegid(), None)


def _found(launches: LaunchAttestor, process: procfs.Process) -> str:
    launch = launches.launch_of(process, launches.lineage_of(process))
    return launch.name if launch else ""


def test_a_cgroup_survives_a_parent_chain_that_is_lost() -> None:
    """A daemon whose launcher is no subreaper has other parents, and is of the launch all the same."""
    unified()
    launches = LaunchAttestor()
    with doer() as launcher, _launched(launcher) as launch:
        launches.register(launch)
        orphan = _hold(launcher.start("orphan"))
        assert launcher.held.key not in process_trees.ancestors(orphan.pid)
        assert launches.lineage_of(orphan).parents is None  # nor were they read
        assert _found(launches, orphan) == "trainer"
        launches.release(launch)
        assert _found(launches, orphan) == ""


def test_a_launch_with_a_cgroup_does_not_go_by_parents() -> None:
    """A child that was moved out is out, also while another launch makes us read parents."""
    home = unified()
    launches = LaunchAttestor()
    with doer() as other, doer() as launcher, _launched(launcher) as launch:
        launches.register(launch)
        launches.register(Launch("team-b", "notebook", other.held))
        process = _hold(launcher.start("child"))
        assert _found(launches, process) == "trainer"
        assert launches.holds(launch, process)
        move(process.pid, home)
        assert launcher.held.key in (launches.lineage_of(process).parents or ())
        assert _found(launches, process) == ""
        assert not launches.holds(launch, process)


def test_a_cgroup_that_was_made_anew_vouches_for_nobody() -> None:
    """Who can remove the empty folder and make another in its place gets no identity by that."""
    home = unified()
    launches = LaunchAttestor()
    with doer() as stranger, doer() as launcher, _launched(launcher) as launch:
        assert launch.folder
        launches.register(launch)
        move(launcher.pid, home)
        launch.folder.directory.rmdir()
        launch.folder.directory.mkdir()
        move(stranger.pid, launch.folder.directory)
        assert launch.folder.holds(process_trees.unified_cgroup(stranger.pid))
        assert _found(launches, stranger.held) == ""


def test_a_dead_launcher_vouches_for_nobody_in_its_cgroup() -> None:
    """Until its leftovers have ended they live without an identity."""
    unified()
    launches = LaunchAttestor()
    with doer() as launcher, _launched(launcher) as launch:
        launches.register(launch)
        orphan = _hold(launcher.start("orphan"))
        launcher.end()
        assert _found(launches, orphan) == ""


@pytest.mark.parametrize("inner_has_a_cgroup", [True, False])
def test_a_launch_inside_a_launch_is_the_inner_one(inner_has_a_cgroup: bool) -> None:  # noqa: FBT001  # pytest gives it
    """`ringfence run` under `ringfence run`, whether or not the inner one has a cgroup of its own."""
    unified()
    launches = LaunchAttestor()
    with doer() as outer, _launched(outer, "outer") as launch:
        launches.register(launch)
        inner = _hold(outer.start("child"))
        folder = enter(inner, "team-a", "inner", process_trees.unified_mounts()) if inner_has_a_cgroup else None
        launches.register(Launch("team-a", "inner", inner, folder))
        assert _found(launches, inner) == "inner"
        assert _found(launches, outer.held) == "outer"


def test_a_cgroup_inside_a_parent_chain_is_the_inner_launch() -> None:
    """The outer launcher has no cgroup of its own, the one below it has."""
    unified()
    launches = LaunchAttestor()
    launches.register(Launch("team-a", "outer", _own()))
    with doer() as inner, doer() as other, _launched(inner, "inner") as launch:
        launches.register(launch)
        assert _found(launches, inner.held) == "inner"
        assert _found(launches, other.held) == "outer"


def test_who_is_moved_out_of_the_inner_launch_is_of_the_outer_one() -> None:
    """Its parents lead on to a launcher that goes by parents, past one that does not."""
    home = unified()
    launches = LaunchAttestor()
    launches.register(Launch("team-a", "outer", _own()))
    with doer() as inner, _launched(inner, "inner") as launch:
        launches.register(launch)
        process = _hold(inner.start("child"))
        move(process.pid, home)
        assert _found(launches, process) == "outer"


def test_a_launch_touches_those_whom_it_may_hold() -> None:
    """Open streams look again when a launch comes that has them in its cgroup, is theirs, or is among their parents."""
    launches, own = LaunchAttestor(), _own()
    folder = LaunchFolder("/a", Path("/a"), 1)
    other = replace(own, pid=1)
    by_folder, by_parents = Launch("team-a", "x", other, folder), Launch("team-a", "y", other)
    assert launches.may_hold(by_folder, own, Lineage("/a/b", None))
    assert launches.may_hold(by_folder, other, Lineage("/", None))
    assert not launches.may_hold(by_folder, own, Lineage("/b", None))
    assert launches.may_hold(by_parents, own, Lineage("/", None))
    assert launches.may_hold(by_parents, own, Lineage("/", (other.key,)))
    assert not launches.may_hold(by_parents, own, Lineage("/", (own.key,)))
