"""Runs squeue(1), which asks slurmctld for the jobs that it has."""

from __future__ import annotations

import os
import shutil
import subprocess

from ringfence.broker.slurm.jobs import FORMAT, Job, parse
from ringfence.certs.errors import Kind, RingfenceError

_PATIENCE = 30.0  # seconds


def squeue(job: int | None = None, program: str = "squeue") -> tuple[Job, ...]:
    """All jobs, or that *job* alone; raises NOT_FOUND without the program, UNAVAILABLE, INVALID."""
    path = shutil.which(program)
    if path is None:
        raise RingfenceError(Kind.NOT_FOUND, f"there is no {program}", hint="apt-get install slurm-client")
    which = () if job is None else ("--jobs", str(job))
    try:
        done = subprocess.run(  # noqa: S603  # our own words, by a path that was looked up
            [path, "--noheader", "--states", "all", "--format", FORMAT, *which],
            env={**os.environ, "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise RingfenceError(Kind.UNAVAILABLE, f"squeue took over {_PATIENCE:.0f} s", hint="Try again") from None
    if done.returncode:
        why = " ".join(done.stderr.split())[:500]
        raise RingfenceError(Kind.UNAVAILABLE, f"squeue failed: {why}", hint="Nothing was changed; is slurmctld up?")
    return parse(done.stdout)
