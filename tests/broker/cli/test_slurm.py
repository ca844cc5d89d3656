"""`ringfence slurm sync`, with a squeue that says what the test tells it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.broker.cli.operator import Done, ringfence
from tests.broker.server.harness import ServerUnderTest, running_server

pytestmark = pytest.mark.e2e
RUNNING = "7|1000|team-a|RUNNING|1900000000|n1"


class Cluster:
    """The two files of a site, and what its squeue prints."""

    def __init__(self, folder: Path, server: ServerUnderTest) -> None:
        self.folder, self.server = folder, server
        (folder / "tenants").write_text("team-a /ns/team-a/slurm/%j\nteam-a /ns/team-a/slurm/%j/step/{slurm.step}\n")
        self.squeue = folder / "squeue"
        self.jobs(RUNNING)

    def jobs(self, *lines: str, says: str = "", code: int = 0) -> None:
        """What squeue prints from now on, on both its outputs, and how it ends."""
        (self.folder / "jobs").write_text("".join(f"{line}\n" for line in lines))
        text = f'#!/bin/sh\necho "$@" > {self.folder}/asked\ncat {self.folder}/jobs\necho "{says}" >&2\nexit {code}\n'
        self.squeue.write_text(text)
        self.squeue.chmod(0o755)

    async def sync(self, *more: str, cluster: str = "hpc") -> Done:
        """The command with all that it needs."""
        files = ("--tenants", self.folder / "tenants", "--squeue", self.squeue, "--cluster", cluster)
        return await ringfence("slurm", "sync", "--admin-socket", self.server.admin_socket, *files, *more)

    async def held(self) -> list[str]:
        """Every entry's identity."""
        found = await ringfence("entry", "list", "--admin-socket", self.server.admin_socket, "-o", "json")
        return sorted(each["spiffeId"].removeprefix("spiffe://example.org") for each in found.json["items"])


async def test_a_job_begins_and_ends(tmp_path: Path) -> None:
    """A prolog's call registers it, again changes nothing, and an epilog's takes it away."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        first, again = await cluster.sync("--job", "7", "-o", "json"), await cluster.sync("--job", "7", "-o", "json")
        assert [each["action"] for each in first.json["items"]] == ["created", "created"]
        assert again.json["items"] == []
        assert await cluster.held() == ["/ns/team-a/slurm/7", "/ns/team-a/slurm/7/step/{slurm.step}"]
        assert (tmp_path / "asked").read_text().split()[-2:] == ["--jobs", "7"]
        cluster.jobs("7|1000|team-a|COMPLETED|1|n1")
        ended = await cluster.sync("--job", "7", "-o", "json")
        assert [each["action"] for each in ended.json["items"]] == ["deleted", "deleted"]
        assert await cluster.held() == []


async def test_a_sync_prunes_its_own_cluster_alone(tmp_path: Path) -> None:
    """Entries of other clusters and those that somebody made by hand stay, whatever they are for."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        await cluster.sync("--job", "7", cluster="other")
        by_hand = ("--spiffe-id", "spiffe://example.org/ns/a/sa/b", "--selector", "slurm:job_id:7")
        await ringfence("entry", "create", "--admin-socket", server.admin_socket, *by_hand)
        before = await cluster.held()
        cluster.jobs("8|1000|team-a|RUNNING|1900000000|n1")
        await cluster.sync()
        assert len(await cluster.held()) == len(before) + 2
        cluster.jobs()
        await cluster.sync()
        assert await cluster.held() == before


async def test_one_job_leaves_the_others(tmp_path: Path) -> None:
    """With --job nothing else is pruned."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        await cluster.sync("--job", "7")
        cluster.jobs("8|1000|team-a|RUNNING|1900000000|n1")
        await cluster.sync("--job", "8")
        assert [each for each in await cluster.held() if "{" not in each] == [
            "/ns/team-a/slurm/7",
            "/ns/team-a/slurm/8",
        ]


@pytest.mark.parametrize(("lines", "code", "ends"), [((RUNNING,), 1, 1), (("what?",), 0, 4), ((), 1, 1)])
async def test_what_squeue_cannot_say_takes_nothing_away(
    tmp_path: Path, lines: tuple[str, ...], code: int, ends: int
) -> None:
    """No slurmctld is not the same as no jobs: the command fails and says why, and so does a prolog."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        await cluster.sync()
        before = await cluster.held()
        cluster.jobs(*lines, says="slurm_load_jobs error: Unable to contact slurm controller", code=code)
        done = await cluster.sync()
        assert (done.code, done.out) == (ends, "")
        assert "squeue" in done.err
        assert await cluster.held() == before


async def test_a_job_that_begins_meanwhile_loses_nothing(tmp_path: Path) -> None:
    """Its prolog registers it while squeue is being read, which has it not yet: what is held is looked at first."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        await cluster.sync("--job", "7")
        create = f"entry create --spiffe-id spiffe://example.org/ns/team-a/slurm/9 --admin-socket {server.admin_socket}"
        prolog = f"{sys.executable} -m ringfence.broker.cli {create} --selector slurm:job_id:9 --hint slurm:hpc"
        cluster.squeue.write_text(f"#!/bin/sh\n{prolog} >&2 && echo '{RUNNING}'\n")
        done = await cluster.sync("-o", "json")
        assert (done.code, done.json["items"]) == (0, [])
        assert "/ns/team-a/slurm/9" in await cluster.held()


async def test_a_trial_changes_nothing(tmp_path: Path) -> None:
    """And says what it would."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        tried = await cluster.sync("--dry-run", "-o", "json")
        assert [each["action"] for each in tried.json["items"]] == ["created", "created"]
        assert await cluster.held() == []
        await cluster.sync()
        cluster.jobs()
        tried = await cluster.sync("--dry-run", "-o", "json")
        assert [each["action"] for each in tried.json["items"]] == ["deleted", "deleted"]
        assert len(await cluster.held()) == 2


async def test_nodes_are_looked_up(tmp_path: Path) -> None:
    """The agent of each is the parent; a node without one ends it with the next step, and nothing is registered."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        (tmp_path / "nodes").write_text("n1 /ringfence/agent/x509pop/1\n")
        made = await cluster.sync("--nodes", str(tmp_path / "nodes"), "-o", "json")
        assert {each["parentId"] for each in made.json["items"]} == {"spiffe://example.org/ringfence/agent/x509pop/1"}
        cluster.jobs(RUNNING.replace("|n1", "|n[1-2]"))
        refused = await cluster.sync("--nodes", str(tmp_path / "nodes"))
        assert refused.code == 1
        assert "n2 of job 7" in refused.err


async def test_without_squeue_the_package_is_named(tmp_path: Path) -> None:
    """Debian's."""
    async with running_server(tmp_path) as server:
        cluster = Cluster(tmp_path, server)
        cluster.squeue.unlink()
        assert "slurm-client" in (await cluster.sync()).err
