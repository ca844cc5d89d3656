"""Real processes that stand in for the ranks of a job."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[int]:
    """The pid of a process that was started with *environment*, until the block ends.

    It has said a word when it is given out: Popen returns before the kernel has put the new environment in place.
    """
    command = ["/bin/sh", "-c", "echo up; read -r word"]
    with subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"up\n"
        yield started.pid
