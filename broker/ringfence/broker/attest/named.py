"""A process that somebody else names by its pid: held fast before anything is read of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ringfence.broker.attest import procfs
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError


@contextmanager
def held(pid: int) -> Iterator[Process]:
    """The process *pid* of this node, by a pidfd that is open as long as the block; raises NOT_FOUND."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:  # no process, or a thread that is not the first of its process
        raise _unknown(pid) from error
    try:
        yield _process(pid, pidfd)
    finally:
        os.close(pidfd)


def _process(pid: int, pidfd: int) -> Process:
    try:
        # Its owner, read while its pidfd is held: hold checks that it is that process still.
        (uid, gid), _ = procfs.credentials(pid)
        return procfs.hold(pid, uid, gid, pidfd)
    except (FileNotFoundError, ProcessLookupError, RingfenceError) as error:
        raise _unknown(pid) from error


def _unknown(pid: int) -> RingfenceError:
    return RingfenceError(Kind.NOT_FOUND, f"there is no process {pid} on this node")
