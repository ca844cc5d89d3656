"""What `deploy/slurm` has, without a Slurm; tests/e2e/test_slurm.py has one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ringfence.broker.slurm.entries import Site, changes
from ringfence.broker.slurm.jobs import Job, Stage
from ringfence.broker.slurm.tables import nodes, tenants
from ringfence.certs.spiffe_id import TrustDomain
from tests import parts

SLURM = Path(__file__).parents[2] / "deploy" / "slurm"
SCRIPTS = ("prolog-slurmctld", "epilog-slurmctld", "prolog", "task-prolog")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_can_be_run(name: str) -> None:
    """By any shell of POSIX."""
    subprocess.run(["/bin/sh", "-n", SLURM / name], check=True)
    assert (SLURM / name).stat().st_mode & 0o111 == 0o111


def test_the_settings_name_the_scripts() -> None:
    """Each once, and none beside."""
    lines = [line for line in (SLURM / "slurm.conf").read_text().splitlines() if "=/" in line]
    scripts = [Path(line.partition("=")[2]).name for line in lines]

    assert sorted(scripts) == sorted(SCRIPTS)


def test_the_tables_give_a_job_its_identities() -> None:
    """The samples, as they are."""
    site = Site(
        TrustDomain("example.org"),
        "hpc",
        tenants((SLURM / "slurm-tenants").read_text(), "slurm-tenants"),
        nodes((SLURM / "slurm-nodes").read_text(), "slurm-nodes"),
    )
    job = Job(7, 1000, "team-a", Stage.LIVE, 2_000_000_000, "n[1-2]")

    assert len(changes(site, [job], [], 1_900_000_000).apply) == 4


@pytest.mark.parametrize("answer", [0, 1])
def test_a_prolog_passes_only_where_its_command_did(tmp_path: Path, answer: int) -> None:
    """Both of slurmctld's, and the node's."""
    for name in ("ringfence", "logger", "scontrol", "sleep"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/said\nexit {answer}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}

    for script in ("prolog-slurmctld", "epilog-slurmctld", "prolog"):
        assert subprocess.run([SLURM / script], env=environment, check=False).returncode == answer
    said = (tmp_path / "said").read_text()
    assert said.count("ringfence slurm sync --config /etc/ringfence/slurm.toml --job 7") >= 2
    assert ("scontrol update JobId=7 AdminComment=ringfence: job 7 does not start" in said) is bool(answer)
    assert ("State=DRAIN Reason=ringfence: " in said) is bool(answer)


def test_a_task_prolog_without_a_table_starts_nothing(tmp_path: Path) -> None:
    """Nobody knows then whether the task is to have an identity; the user reads why."""
    environment = {"PATH": "/usr/bin:/bin", "RINGFENCE_SLURM_TENANTS": str(tmp_path / "none"), "SLURMD_NODENAME": "n1"}
    done = subprocess.run([SLURM / "task-prolog"], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout.startswith("print ringfence: this task does not start: there is no ")


@pytest.mark.slow
def test_systemd_accepts_the_timer(tmp_path: Path) -> None:
    """Beside the service that it starts, in whose place a program stands that is there."""
    for name in ("ringfence-slurm-sync.timer", "ringfence-slurm-sync.service"):
        text = (SLURM.parent / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/ringfence", "/bin/true").replace("User=slurm\n", ""))
    verify = [parts.program("systemd-analyze", "systemd"), "verify", "--man=no"]
    done = subprocess.run(
        [*verify, tmp_path / "ringfence-slurm-sync.timer"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
