"""A real Slurm whose jobs have identities: what `deploy/slurm` does, called by slurmctld, slurmd and slurmstepd."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.slurm.jobs import hosts
from tests.e2e.plane import until
from tests.e2e.slurm import CLUSTER, Place, Slurm
from tests.e2e.stack import RINGFENCE, TRUST_DOMAIN, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(300)]

DEPLOY = Path(__file__).parents[2] / "deploy" / "slurm"
NOBODY, NOGROUP = 65534, 65534  # a user and a group that Debian has; here the tenant
DAEMON = 1  # and a user and a group of whom no line speaks
HOUR = 3600
SHORT, TIMED_OUT = 3, 6  # seconds for what must not come, and how a command ends then
_INTENT = """
kind: Mesh
metadata: {name: site}
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {launch: {by: [{unix.user: nobody, slurm.step: "0"}]}}
---
kind: Fabric
metadata: {name: rail, namespace: team-a}
spec:
  {kind: tcp, interfaces: [WIRE], cidrs: [10.91.0.0/24], ports: [50000-51000], tenants: [team-a], enforcedBy: nothing}
---
kind: FabricGrant
metadata: {name: llm, namespace: team-a}
spec:
  {fabric: {name: rail}, identities: [{workload: trainer}], job: llm, expires: 2099-01-01T00:00:00Z,
   owner: ml, reason: training}
"""


class Site:
    """Slurm with two nodes, an agent on each, and the scripts of `deploy/slurm` as a site has them."""

    def __init__(self, folder: Path, exits: ExitStack) -> None:
        self.folder = folder
        self.wire = f"rf{folder.name[-6:]}"
        self.slurm = Slurm(folder, exits, {f"n{os.getpid()}{each}": Place() for each in "ab"}, self._settings())
        subprocess.run(["ip", "link", "add", self.wire, "type", "veth", "peer", "name", f"{self.wire}p"], check=True)
        exits.callback(subprocess.run, ["ip", "link", "del", self.wire], check=True)
        (folder / "ringfence").mkdir()
        self.stack = Stack(folder / "ringfence", exits, _INTENT.replace("WIRE", self.wire))
        for readable in (folder / "ringfence", folder / "ringfence" / "intent"):
            readable.chmod(0o755)
        self.second = folder / "ringfence" / "second.sock"
        first = self.agents()
        self._second_agent()
        second = until(lambda: self.agents() - first, "the second agent")
        self.tenants, self.nodes = folder / "tenants", folder / "nodes"
        self.group("nogroup")
        (self.nodes).write_text(f"{self.slurm.nodes[0]} {first.pop()}\n{self.slurm.nodes[1]} {second.pop()}\n")
        self.config = folder / "slurm.toml"
        self.config.write_text(
            f'cluster = "{CLUSTER}"\ntenants = "{self.tenants}"\nnodes = "{self.nodes}"\n'
            f'admin_socket = "{self.stack.data_dir}/admin.sock"\n'
        )
        self._emit_prolog()
        self.slurm.start()

    def _emit_prolog(self) -> None:
        """What `fabric emit slurm-prolog` prints for the partition `rail`, which is asked before ours."""
        facts = ("--partition", "rail", "--group", "nogroup=team-a", "--dir", str(self.folder / "ringfence" / "intent"))
        code, text = self.stack.ringfence("fabric", "emit", "slurm-prolog", "team-a/rail", *facts)
        assert code == 0, text
        (self.folder / "emitted").write_text(text)

    def group(self, name: str) -> None:
        """Whose jobs have identities."""
        self.tenants.write_text(f"{name} /ns/team-a/slurm/%j\n{name} /ns/team-a/slurm/%j/step/{{slurm.step}}\n")

    def agents(self) -> set[str]:
        """The paths of all that attested."""
        nodes = self.stack.admin.ListNodes(admin.ListNodesRequest()).nodes
        return {node.spiffe_id.removeprefix(f"spiffe://{TRUST_DOMAIN}") for node in nodes}

    def _settings(self) -> str:
        """The scripts, each below one that says where this site has its files: Slurm hands on nothing but SLURM_..."""
        names = {"PrologSlurmctld": "prolog-slurmctld", "EpilogSlurmctld": "epilog-slurmctld"}
        names |= {"Prolog": "prolog", "TaskProlog": "task-prolog"}
        path = f"{Path(RINGFENCE[0]).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        for script in names.values():
            here = self.folder / script
            here.write_text(
                f"#!/bin/sh\nexport PATH={path} SLURM_CONF={self.folder}/slurm.conf\n"
                f"export RINGFENCE_SLURM_CONFIG={self.folder}/slurm.toml\n"
                f"export RINGFENCE_SLURM_TENANTS={self.folder}/tenants\n"
                f": ${{RINGFENCE_SOCKET:={self.folder}/ringfence/agent.sock}}\n"
                f"export RINGFENCE_SOCKET RINGFENCE_INTENT={self.folder}/ringfence/intent\n"
                f"{'sh ' + str(self.folder / 'emitted') + ' || exit 1' if script == 'prolog-slurmctld' else ''}\n"
                f"exec {DEPLOY / script}\n"
            )
            here.chmod(0o755)
        rail = "PartitionName=rail Nodes=ALL MaxTime=INFINITE State=UP"
        return "\n".join(
            [rail, "PrologFlags=Alloc,Contain", *(f"{name}={self.folder / at}" for name, at in names.items())]
        )

    def _second_agent(self) -> None:
        token = self.stack.admin.GenerateToken(admin.GenerateTokenRequest(ttl=60)).token
        self.stack.start(
            [
                *(*RINGFENCE, "agent", "run", "--server", self.stack.listen, "--trust-domain", TRUST_DOMAIN),
                *("--socket", str(self.second), "--data-dir", str(self.folder / "ringfence" / "agent2")),
                *("--bootstrap-bundle", str(self.stack.data_dir / "bundle.pem"), "--join-token", token),
            ],
            self.folder / "ringfence" / "agent2.log",
        )

    def srun(self, *command: str, uid: int = NOBODY, **environment: str) -> subprocess.CompletedProcess[str]:
        """A job of *uid* on the first node, of five minutes."""
        asked = ("srun", "-w", self.slurm.nodes[0], "-t", "5", "-Q", *command)
        return self.slurm.as_user(uid, uid, *asked, **environment)

    def sync(self) -> str:
        """What the timer's `ringfence slurm sync` changes."""
        environment = {"SLURM_CONF": str(self.slurm.conf), "RINGFENCE_SLURM_SYNC_OUTPUT": "json"}
        command = [*RINGFENCE, "slurm", "sync", "--config", str(self.config)]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        ).stdout

    def held(self) -> list[admin.Entry]:
        """What is registered for jobs."""
        return list(self.stack.admin.ListEntries(admin.ListEntriesRequest(hint=f"slurm:{CLUSTER}")).entries)

    def fetch(self, socket: Path | None = None, seconds: int = 20) -> str:
        """The words by which a task asks an agent for its identities, for so long."""
        return f"ringfence svid fetch x509 --socket {socket or self.stack.socket} --timeout {seconds} -o name"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all tests here; they leave no job behind."""
    folder = Path(tempfile.mkdtemp(prefix="rf-slurm-"))
    folder.chmod(0o755)
    try:
        with ExitStack() as exits:
            yield Site(folder, exits)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_has_its_identity_and_each_step_its_own(site: Site) -> None:
    """By the cgroups that slurmstepd made; registered before it starts, and ended after it."""
    done = site.srun("sh", "-c", f"echo $SLURM_JOB_ID $RINGFENCE_IDENTITY; {site.fetch()}")

    assert (done.returncode, done.stderr) == (0, "")
    first, *found = done.stdout.splitlines()
    job, told = first.split()
    assert sorted(found) == [f"spiffe://example.org/ns/team-a/slurm/{job}{step}" for step in ("", "/step/0")]
    assert told == min(found)
    until(lambda: all(entry.expires_at <= time.time() + 180 for entry in site.held()), "the epilog to move the end")


def test_a_batch_script_and_its_steps_are_told_apart(site: Site) -> None:
    """The script is the step `batch`; an srun in it is one of its own. All of it has the end of the job's limit."""
    out = site.folder / "out"
    out.mkdir(exist_ok=True)
    out.chmod(0o777)
    # The job's own identity may come first: an answer holds what there is when the rest takes its time.
    all_of_it = (
        f"until {site.fetch()} > {out}/$1.part && grep /step/ {out}/$1.part; do :; done; mv {out}/$1.part {out}/$1"
    )
    (out / "all").write_text(all_of_it)
    script = f"#!/bin/sh\nsh {out}/all batch; srun -n1 sh {out}/all step; sleep 300\n"
    path = site.folder / "job.sh"
    path.write_text(script)
    job = site.slurm.as_user(
        NOBODY, NOGROUP, "sbatch", "--parsable", "-w", site.slurm.nodes[0], "-t", "60", "-o", f"{out}/log", str(path)
    ).stdout.strip()
    until((out / "step").exists, "the identity of the step", 60)

    held = site.held()
    mine = [entry for entry in held if f"slurm:job_id:{job}" in entry.selectors]
    assert len(mine) == 2
    assert {tuple(entry.selectors) for entry in mine} == {(f"slurm:job_id:{job}", f"unix:uid:{NOBODY}")}
    assert {HOUR - 60 < entry.expires_at - time.time() <= HOUR + 180 for entry in mine} == {True}
    assert max((out / "batch").read_text().split()).endswith(f"/slurm/{job}/step/batch")
    assert max((out / "step").read_text().split()).endswith(f"/slurm/{job}/step/0")
    assert f"/slurm/{job}" not in site.sync()

    site.slurm.run("scontrol", "requeue", job)
    until(lambda: _restarts(site, job) == 1, "the job to start again", 120)
    assert len([entry for entry in site.held() if f"slurm:job_id:{job}" in entry.selectors]) == 2
    site.slurm.run("scancel", job)
    until(lambda: not site.slurm.run("squeue", "-h", "-j", job).strip(), "the job to end", 60)
    site.sync()
    assert not [entry for entry in site.held() if f"slurm:job_id:{job}" in entry.selectors]


def _restarts(site: Site, job: str) -> int:
    site.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else two minutes after a requeue
    shown = site.slurm.run("scontrol", "-o", "show", "job", job)
    words = dict(word.split("=", 1) for word in shown.split() if "=" in word)
    return int(words["Restarts"]) if words.get("JobState") == "RUNNING" else 0


def test_a_workload_is_launched_in_a_step_and_nowhere_else(site: Site) -> None:
    """Where the intent asks for one: `srun ringfence run` is the workload, and its user by hand is not."""
    command = (*RINGFENCE, "run", "--socket", str(site.stack.socket), "--namespace", "team-a", "--name", "trainer")
    told = site.srun(*command, "--", "sh", "-c", "echo $RINGFENCE_IDENTITY")
    by_hand = site.slurm.as_user(NOBODY, NOGROUP, *command, "--", "echo", "it ran")

    assert told.stdout == "spiffe://example.org/ns/team-a/sa/trainer\n", told.stderr
    assert (by_hand.returncode, by_hand.stdout) == (5, "")


def test_who_is_not_in_the_job_gets_nothing(site: Site) -> None:
    """Its user, outside of it; and itself, of the agent of a node that it does not run on."""
    done = site.srun("sh", "-c", f"{site.fetch()}; {site.fetch(site.second, SHORT)} || echo not there")
    outside = site.slurm.as_user(NOBODY, NOGROUP, *site.fetch(seconds=SHORT).split())

    assert len(done.stdout.splitlines()) == 3
    assert done.stdout.splitlines()[-1] == "not there"
    assert (outside.returncode, outside.stdout) == (TIMED_OUT, "")


def test_a_group_without_identities_runs_without_one(site: Site) -> None:
    """Nothing is registered for it, and its tasks are told nothing."""
    done = site.srun("sh", "-c", f"echo [$RINGFENCE_IDENTITY]; {site.fetch(seconds=SHORT)}; echo ended $?", uid=DAEMON)

    assert done.stdout.splitlines() == ["[]", f"ended {TIMED_OUT}"]


def test_a_job_that_cannot_be_registered_does_not_start(site: Site) -> None:
    """The reason is in the job's AdminComment; here its node has no agent."""
    before = site.nodes.read_text()
    site.nodes.write_text(f"{site.slurm.nodes[1]} /ringfence/agent/x509pop/2\n")
    try:
        done = site.srun("echo", "it ran")
    finally:
        site.nodes.write_text(before)

    assert "it ran" not in done.stdout
    assert done.returncode != 0
    assert f"no agent is named for {site.slurm.nodes[0]}" in site.slurm.run("scontrol", "-a", "show", "job")


def test_a_job_without_a_grant_does_not_get_the_partition_of_a_fabric(site: Site) -> None:
    """By the prolog that is emitted from the intent: the tenant's users do, others do not, and run elsewhere."""

    def ran(uid: int, *where: str) -> bool:
        return "it ran" in site.srun(*where, "echo", "it ran", uid=uid).stdout

    assert ran(NOBODY, "-p", "rail")
    assert not ran(DAEMON, "-p", "rail")
    assert ran(DAEMON)
    assert "group daemon has no grant in force" in site.slurm.run("scontrol", "-a", "show", "job")


def test_a_task_without_its_identity_does_not_start(site: Site) -> None:
    """It says why where its user reads it."""
    nowhere = str(site.folder / "nowhere.sock")
    done = site.srun("echo", "it ran", RINGFENCE_SOCKET=nowhere)

    assert "it ran" not in done.stdout
    assert done.returncode != 0
    assert f"ringfence: this task does not start: Error: {nowhere}" in done.stdout


def test_a_task_is_told_what_its_fabric_asks_for(site: Site) -> None:
    """As values, without the quotes of a shell; a job that no grant names does not start."""
    say = ("sh", "-c", 'echo "$NCCL_SOCKET_IFNAME $NCCL_NET"')
    told = site.srun(*say, RINGFENCE_FABRIC="team-a/rail", RINGFENCE_JOB="team-a/llm")
    refused = site.srun("echo", "it ran", RINGFENCE_FABRIC="team-a/rail", RINGFENCE_JOB="team-a/other")

    assert told.stdout == f"={site.wire} Socket\n"
    assert "it ran" not in refused.stdout
    assert "this task does not start" in refused.stdout


@pytest.mark.parametrize("nodes", ["n[1-3,07],m5", "r[1-2]n[08-10]", "b,a[01-02],a"])
def test_lists_of_nodes_are_read_as_slurm_does(site: Site, nodes: str) -> None:
    """`scontrol show hostnames` is who made them."""
    names = site.slurm.run("scontrol", "show", "hostnames", nodes).split()

    assert list(hosts(nodes)) == list(dict.fromkeys(names))
