"""The folders that the agent makes for launches, swept and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.attest import process_trees
from ringfence.broker.attest.launch_folder import LaunchFolder
from tests.broker.agent.harness import agent_process, page
from tests.broker.attest.cgroups import NOWHERE, Doer, clear, doer, gone, move, unified
from tests.broker.attest.children import LAUNCHER, child
from tests.broker.server.harness import running_server
from tests.ports import free_port

INTENT = f"""
apiVersion: ringfence.dev/v1alpha1
kind: Workload
metadata: {{name: trainer, namespace: team-a}}
spec: {{launch: {{by: [{{unix.uid: {os.geteuid()}}}]}}}}
"""


@pytest.fixture
def home() -> Path:
    """Where launchers are before."""
    return unified()


@pytest.fixture
def launcher(home: Path) -> Iterator[Doer]:
    """A process that may be vouched for."""
    with doer() as running:
        yield running
    for left in home.glob(f"ringfence-launch.*.{running.pid}.*"):
        clear(left)


@pytest.fixture
def listener() -> Iterator[Doer]:
    """Another one, a child of ours."""
    with doer() as running:
        yield running


@pytest.fixture
async def folders() -> AsyncIterator[LaunchFolders]:
    """An agent's folders, which give hardly any grace."""
    made = LaunchFolders(grace=0.1)
    yield made
    await made.close()


async def _enter(folders: LaunchFolders, launcher: Doer) -> LaunchFolder:
    folder, why = await folders.enter(launcher.held, "team-a", "trainer")
    assert folder, why
    return folder


async def _ended(pid: int, launcher: Doer) -> bool:
    """End the launcher: does *pid* end too?"""
    pidfd = os.pidfd_open(pid)
    launcher.end()
    try:
        return await asyncio.to_thread(gone, pidfd)
    finally:
        os.close(pidfd)


async def test_what_a_launcher_leaves_is_ended_and_the_folder_goes(launcher: Doer, folders: LaunchFolders) -> None:
    """A daemon that is deaf to TERM is killed once the launcher has ended, however it ended."""
    folder = await _enter(folders, launcher)
    assert await _ended(launcher.start("orphan"), launcher)
    await folders.close()
    assert not folder.is_there()


async def test_the_leftovers_get_term_first(launcher: Doer, listener: Doer) -> None:
    """A job may write its checkpoint before it ends."""
    folders = LaunchFolders(grace=60)
    folder = await _enter(folders, launcher)
    move(listener.pid, folder.directory)
    assert await _ended(listener.pid, launcher)
    assert listener.wait() == -signal.SIGTERM
    await folders.close()
    assert not folder.is_there()


async def test_a_restarted_agent_finds_the_launch_in_its_folder(launcher: Doer, folders: LaunchFolders) -> None:
    """A stop ends no workload and removes no folder in use; the next agent takes it over, and ends it in its time."""
    stopped = LaunchFolders(grace=0)
    folder = await _enter(stopped, launcher)
    orphan = launcher.start("orphan")
    await stopped.close()
    assert folder.holds(process_trees.unified_cgroup(orphan))
    assert await _enter(folders, launcher) == folder
    assert await _enter(folders, launcher) == folder
    assert await _ended(orphan, launcher)


async def test_a_stop_hurries_the_end_of_a_launch(launcher: Doer) -> None:
    """An agent that stops waits for no grace, and leaves no leftovers of launchers that have ended."""
    folders = LaunchFolders(grace=60)
    folder = await _enter(folders, launcher)
    orphan = os.pidfd_open(launcher.start("orphan"))
    ended = os.pidfd_open(launcher.pid)
    launcher.end()
    assert gone(ended)
    async with asyncio.timeout(30):
        while folder in folders._watched:  # noqa: ASYNC110  # until the loop sees it
            await asyncio.sleep(0)
        await folders.close()
    assert gone(orphan)
    assert not folder.is_there()
    os.close(orphan)
    os.close(ended)


async def test_a_cancelled_launch_is_not_left_half_done(launcher: Doer, folders: LaunchFolders) -> None:
    """Who goes away while it is moved has a folder that is watched, and that goes with it."""
    entering = asyncio.create_task(_enter(folders, launcher))
    await asyncio.sleep(0)
    entering.cancel()
    with suppress(asyncio.CancelledError):
        await entering
    await asyncio.wait(folders._tasks)
    (folder,) = folders._watched
    assert process_trees.unified_cgroup(launcher.pid) == folder.path
    assert await _ended(launcher.start("orphan"), launcher)


async def test_without_a_cgroup_the_reason_is_told(launcher: Doer) -> None:
    """Then the launch goes by parents, and the log says why."""
    folders = LaunchFolders(lambda: NOWHERE)
    folder, why = await folders.enter(launcher.held, "team-a", "trainer")
    assert folder is None
    assert why
    await folders.close()


async def test_a_pid_that_means_another_process_is_not_held(launcher: Doer, folders: LaunchFolders) -> None:
    """On a kernel whose sockets give no pidfd one is opened, and its start time has to be the launcher's."""
    other = replace(launcher.held, started=launcher.held.started - 1)
    assert await folders.enter(other, "team-a", "trainer") == (None, "[Errno 3] No such process")
    assert "ringfence-launch" not in process_trees.unified_cgroup(launcher.pid)


def test_a_sweep_is_of_the_mounts(home: Path) -> None:
    """What an agent that was killed left is removed by the next one."""
    left = home / "ringfence-launch.team-a.trainer.1.1"
    left.mkdir(exist_ok=True)
    LaunchFolders().sweep()
    assert not left.exists()


@pytest.mark.e2e
async def test_log_and_metrics_say_what_the_tree_is_known_by(home: Path, tmp_path: Path) -> None:
    """An operator sees whether launches have a cgroup: in `how` of `launch registered`, and in a counter's label."""
    http = free_port()
    async with running_server(tmp_path) as server:
        await server.apply({"intent.yaml": INTENT})
        bundle = tmp_path / "bootstrap.pem"
        bundle.write_bytes(server.bundle_pem)
        join = ("--bootstrap-bundle", str(bundle), "--join-token", await server.token())
        async with agent_process(tmp_path, server.address, *join, http_port=http) as agent:
            command = (f"{agent.socket}.admin", "team-a", "trainer", str(agent.socket))
            async with child(LAUNCHER, *command) as launcher:
                assert await launcher.line() == "accepted"
                path = process_trees.unified_cgroup(launcher.process.pid)
                assert 'ringfence_agent_launches_total{by="cgroup"} 1.0' in await page(http, "/metrics")
    lines = [json.loads(line) for line in (tmp_path / "agent.log").read_text().splitlines()]
    (line,) = [line for line in lines if line.get("msg") == "launch registered"]
    assert line["how"].startswith("cgroup, ")
    assert line["cgroup"] == path
    assert not (home / path.rpartition("/")[2]).exists()
