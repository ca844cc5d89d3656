"""The emitted script as Slurm runs it: which jobs start."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringfence.certs.errors import RingfenceError
from ringfence.fabric.emit.targets import emit
from tests.fabric.emit.intents import asked

FACTS: dict[str, Any] = {"partitions": ("gpu", "gpu-long"), "groups": ("ml-a=team-a", "ml-b=team-b")}
BEFORE, BETWEEN, AFTER = datetime(2027, 1, 1), datetime(2027, 2, 10), datetime(2027, 3, 1)  # noqa: DTZ001  # UTC below


def ends(folder: Path, now: datetime, partition: str = "gpu", group: str | None = "ml-a") -> tuple[int, str]:
    """How the script for the fabric `tcp` ends, and what it told Slurm, at *now*."""
    script = folder / "prolog"
    script.write_text(emit(asked("slurm-prolog", "tcp", **FACTS)))
    for name, does in (("date", f"echo {int(now.replace(tzinfo=UTC).timestamp())}"), ("logger", ":")):
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {folder}/said\n')
    for name in ("date", "logger", "scontrol"):
        (folder / name).chmod(0o755)
    environment = {"PATH": str(folder), "SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": partition}
    environment |= {} if group is None else {"SLURM_JOB_GROUP": group}
    done = subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    said = folder / "said"
    return done.returncode, said.read_text() if said.exists() else ""


def test_a_job_of_a_tenant_starts_while_its_grant_is_in_force(tmp_path: Path) -> None:
    """The last of several; from its end on it does not, and says why."""
    assert ends(tmp_path, BEFORE) == (0, "")
    assert ends(tmp_path, BETWEEN, group="ml-b") == (0, "")
    code, said = ends(tmp_path, BETWEEN)
    assert code == 1
    assert "JobId=7 AdminComment=ringfence: group ml-a has no grant in force for fabric platform/tcp" in said


@pytest.mark.parametrize("group", ["others", "ml-", "ml-a2", "*", "", None])
def test_whoever_is_not_named_does_not_start(tmp_path: Path, group: str | None) -> None:
    """Nor who has no group at all."""
    assert ends(tmp_path, BEFORE, group=group)[0] == 1


@pytest.mark.parametrize("partition", ["cpu", "gpu2", ""])
def test_jobs_on_other_nodes_are_none_of_its_business(tmp_path: Path, partition: str) -> None:
    """They start as before."""
    assert ends(tmp_path, AFTER, partition=partition, group="others") == (0, "")


def test_all_grants_end(tmp_path: Path) -> None:
    """And then nobody starts."""
    assert ends(tmp_path, AFTER, group="ml-b")[0] == ends(tmp_path, AFTER)[0] == 1


@pytest.mark.parametrize(
    "group", ["ml-a", "=team-a", "ml-a=", "ml-a=platform", "*=team-a", "a b=team-a", "a;b=team-a", "ml-b=team-a"]
)
def test_a_group_is_one_of_unix_and_has_one_tenant(group: str) -> None:
    """What else stands there would be a pattern of the shell's, or somebody's who is no tenant."""
    with pytest.raises(RingfenceError, match="was given the group"):
        emit(asked("slurm-prolog", "tcp", partitions=("gpu",), groups=("ml-b=team-b", group)))


@pytest.mark.parametrize("partition", ["", "*", "a|b", "a b", "a)", "gpu\n"])
def test_a_partition_is_a_name(partition: str) -> None:
    """Of slurm.conf."""
    with pytest.raises(RingfenceError, match="was given the partition"):
        emit(asked("slurm-prolog", "tcp", partitions=("gpu", partition), groups=("ml-a=team-a",)))
