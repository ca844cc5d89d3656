"""The `ringfence` command as a user's shell runs it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import parts

RINGFENCE = (sys.executable, "-m", "ringfence.broker.cli")
# One workload; tests replace NAME.
INTENT = """\
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Workload
metadata: {name: NAME, namespace: team-a}
spec: {launch: {by: [{unix.uid: 0}]}}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def ringfence(*arguments: str | Path, before: Sequence[str] = (), **environment: str) -> Done:
    """The command as a user's shell runs it; no output of it may ever hold a traceback."""
    process = await asyncio.create_subprocess_exec(
        *(*before, *RINGFENCE, *map(str, arguments)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    done = Done(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in done.out + done.err
    return done


def unprivileged() -> Sequence[str]:
    """What to put before a command so that file modes bind it, also when the tests run as root."""
    if os.geteuid() != 0:
        return ()
    unshare = parts.program("unshare", "util-linux")
    # Root of no name space that matters: the same owner without the right to pass over modes.
    return (unshare, "-U")
