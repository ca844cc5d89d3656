"""Whose a socket is, as /proc shows it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ringfence.broker.fabric.leak_owners import NOBODY, Owners
from ringfence.fabric.doctor.node_signs import PROXY_UID
from ringfence.fabric.leak.seen import Owner

HOLD = "import socket, os; held = socket.socket(); print(os.fstat(held.fileno()).st_ino, flush=True); input()"


@contextmanager
def holder() -> Iterator[tuple[int, int]]:
    """The pid of a process that holds a socket, and that socket's inode."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


def test_a_socket_is_the_jobs_whose_process_is() -> None:
    """And somebody else's where it is not; a proxy's where the proxy's user has it, whatever started it."""
    with holder() as (pid, inode):
        for job, uid, owner in (
            ((pid,), 0, Owner.JOB),
            ((), 0, Owner.OTHER),
            ((pid,), PROXY_UID, Owner.PROXY),
        ):
            found = Owners(lambda job=job: job).of([inode], [uid])  # type: ignore[misc]
            assert found[inode][0] is owner
            assert found[inode][1].endswith(f"({pid})")


def test_what_was_seen_is_remembered_while_the_socket_is_there() -> None:
    """Its process may be gone from the job by then; a number that comes again is another socket's."""
    job: list[int] = []
    owners = Owners(lambda: job)
    with holder() as (pid, inode):
        job.append(pid)
        assert owners.of([inode], [0])[inode][0] is Owner.JOB
        job.clear()
        assert owners.of([inode], [0])[inode][0] is Owner.JOB
        assert owners.of([], []) == {}
        assert owners.of([inode], [0])[inode][0] is Owner.OTHER


def test_our_own_and_nobodys_are_nobodys() -> None:
    """The test's own sockets are no part of what it tests."""
    with socket.socket() as held:
        inode = os.fstat(held.fileno()).st_ino
        assert Owners(lambda: ()).of([inode, 0], [0, 0]) == {inode: NOBODY}


def test_what_has_ended_hides_nothing() -> None:
    """A process that nobody has waited for shows root nothing either."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        owners = Owners(lambda: (ended.pid,))
        assert owners.of([1], [0]) == {1: NOBODY}
        assert owners.hidden() == 0
