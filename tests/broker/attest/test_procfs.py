"""A process is held fast, and known again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copy

import pytest

from ringfence.broker.attest import procfs
from ringfence.certs.errors import Kind, RingfenceError

SLEEPER = "import sys; sys.stdin.read()"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child that lives until its stdin is closed."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def _hold(pid: int, pidfd: int | None) -> procfs.Process:
    return procfs.hold(pid, os.geteuid(), os.getegid(), pidfd)


def _denied(error: RingfenceError) -> bool:
    return error.kind is Kind.DENIED


@pytest.fixture
def pidfd(sleeper: subprocess.Popen[bytes]) -> Iterator[int]:
    """A pidfd of the child."""
    found = os.pidfd_open(sleeper.pid)
    yield found
    os.close(found)


def test_a_held_process_is_described(sleeper: subprocess.Popen[bytes], pidfd: int) -> None:
    """A held process has its start time and executable, and says that a pidfd holds it."""
    held = _hold(sleeper.pid, pidfd)
    assert held.started == procfs.stat(sleeper.pid).started
    assert held.executable is not None
    assert held.held_by == "pidfd"
    procfs.check(held)


@pytest.mark.parametrize("with_pidfd", [True, False])
def test_a_dead_process_is_refused(sleeper: subprocess.Popen[bytes], pidfd: int, *, with_pidfd: bool) -> None:
    """Once the process is reaped, holding it and checking it are both denied."""
    held = _hold(sleeper.pid, pidfd if with_pidfd else None)
    sleeper.kill()
    sleeper.wait()
    assert not procfs.is_alive(held)
    for attempt in (lambda: procfs.check(held), lambda: _hold(sleeper.pid, pidfd if with_pidfd else None)):
        with pytest.raises(RingfenceError, check=_denied):
            attempt()


def test_a_zombie_is_refused(sleeper: subprocess.Popen[bytes], pidfd: int) -> None:
    """A process that has ended and is not reaped yet still has its pid, and is gone for us."""
    held = _hold(sleeper.pid, pidfd)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not procfs.is_alive(held)
    with pytest.raises(RingfenceError, check=_denied):
        procfs.check(held)


def test_a_pidfd_of_another_process_is_refused(pidfd: int) -> None:
    """The pid that a pidfd holds has to be the peer's: a reused pid is not."""
    with pytest.raises(RingfenceError, check=_denied):
        _hold(os.getpid(), pidfd)


def test_another_user_than_the_peers_is_refused(sleeper: subprocess.Popen[bytes], pidfd: int) -> None:
    """A process that is of another user or group now than when it connected is refused."""
    for user, group in ((1, 0), (0, 1)):
        with pytest.raises(RingfenceError, check=_denied):
            procfs.hold(sleeper.pid, os.geteuid() + user, os.getegid() + group, pidfd)


def test_another_user_or_group_than_was_held_is_noticed(sleeper: subprocess.Popen[bytes], pidfd: int) -> None:
    """Also by one check that has nothing else to go by."""
    held = _hold(sleeper.pid, pidfd)
    for changed in (replace(held, uid=held.uid + 1), replace(held, gid=held.gid + 1)):
        with pytest.raises(RingfenceError, check=lambda error: "user or group" in error.detail):
            procfs.check(changed)


@pytest.mark.parametrize("pid", [None, 0, -1])
def test_a_process_that_we_cannot_see_is_refused(pid: int | None) -> None:
    """A peer of another PID namespace has no pid here."""
    with pytest.raises(RingfenceError, check=_denied):
        procfs.hold(pid, 0, 0, None)


def test_an_exec_is_noticed() -> None:
    """A process that runs another program now is not the one that was held, though its pid is the same."""
    code = "import os; os.read(0, 3); os.execv('/bin/cat', ['cat'])"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        pidfd = os.pidfd_open(process.pid)
        held = _hold(process.pid, pidfd)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\necho\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"echo\n"  # it is cat now
        with pytest.raises(RingfenceError, check=lambda error: "another program" in error.detail):
            procfs.check(held)
        os.close(pidfd)
        process.stdin.close()


def test_a_path_counts_only_where_that_file_stands(tmp_path: Path) -> None:
    """A program whose file was replaced or unlinked has no path: another file stands there, or none."""
    program = tmp_path / "program"
    copy("/bin/cat", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        held = _hold(process.pid, None)
        assert procfs.path_of(held) == str(program)
        program.unlink()
        assert procfs.path_of(held) == ""
        copy("/bin/sh", program)
        assert procfs.path_of(held) == ""
        process.send_signal(signal.SIGKILL)


def test_a_name_with_brackets_does_not_confuse(tmp_path: Path) -> None:
    """Field 2 of /proc/PID/stat may hold spaces and brackets; the fields after it are still found."""
    program = tmp_path / "a) b (c"
    copy("/bin/cat", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        assert procfs.stat(process.pid).parent == os.getpid()
        process.kill()
