"""Processes that somebody else names by pid."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from ringfence.broker.attest import procfs
from ringfence.broker.attest.named import held
from ringfence.certs.errors import Kind, RingfenceError


def test_a_process_is_held_by_a_pidfd_for_as_long_as_the_block() -> None:
    """It is the named process, with its own user, and the pidfd is closed afterwards."""
    with held(os.getpid()) as process:
        assert (process.pid, process.uid, process.gid) == (os.getpid(), os.geteuid(), os.getegid())
        assert process.pidfd is not None
        assert procfs.pid_of(process.pidfd) == os.getpid()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(process.pidfd)


def _refused(pid: int) -> Kind:
    with pytest.raises(RingfenceError) as caught, held(pid):
        pass
    return caught.value.kind


def test_a_process_that_has_ended_is_not_found() -> None:
    """Gone, or a zombie that nobody waited for yet."""
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert _refused(child.pid) is Kind.NOT_FOUND
    child.wait()
    assert _refused(child.pid) is Kind.NOT_FOUND


def test_a_thread_is_no_process() -> None:
    """A thread's id names its process to /proc, and nothing here."""
    running, stop = threading.Event(), threading.Event()
    found: list[int] = []

    def body() -> None:
        found.append(threading.get_native_id())
        running.set()
        stop.wait()

    thread = threading.Thread(target=body)
    thread.start()
    try:
        running.wait()
        assert Path(f"/proc/{found[0]}/stat").exists()
        assert _refused(found[0]) is Kind.NOT_FOUND
    finally:
        stop.set()
        thread.join()
