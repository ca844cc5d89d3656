"""Binaries are hashed off the event loop, and once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.broker.attest import procfs
from ringfence.broker.attest.unix import UnixAttestor
from ringfence.certs.errors import RingfenceError

WANTED = frozenset({"unix:sha256"})


@contextmanager
def running(program: Path) -> Iterator[procfs.Process]:
    """A process of *program*, held."""
    with subprocess.Popen([program, "60"]) as child:
        try:
            yield procfs.hold(child.pid, os.geteuid(), os.getegid(), None)
        finally:
            child.kill()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of our own, which can be replaced."""
    return Path(shutil.copy2(shutil.which("sleep") or "/bin/sleep", tmp_path / "sleep"))


@contextmanager
def becoming(program: Path) -> Iterator[procfs.Process]:
    """A process that was held while it was a shell, and is *program* now."""
    with subprocess.Popen(["sh", "-c", f"read _; exec {program} 60"], stdin=subprocess.PIPE) as child:
        try:
            process = procfs.hold(child.pid, os.geteuid(), os.getegid(), None)
            assert child.stdin is not None
            child.stdin.close()
            while os.readlink(f"/proc/{child.pid}/exe") != str(program):  # noqa: PTH115  # a magic link
                os.sched_yield()
            yield process
        finally:
            child.kill()


def _replace(program: Path, more: bytes) -> None:
    """Put another file in its place, under the same path."""
    changed = program.with_name("changed")
    changed.write_bytes(program.read_bytes() + more)
    changed.chmod(0o700)
    changed.rename(program)


def _digest(program: Path) -> str:
    return f"unix:sha256:{hashlib.sha256(program.read_bytes()).hexdigest()}"


async def test_a_program_is_hashed_once_until_it_changes(program: Path) -> None:
    """Two processes of one file share a digest; a file in its place, under the same path, gets its own."""
    attestor = UnixAttestor()
    for _ in range(2):
        with running(program) as process:
            assert _digest(program) in map(str, await attestor.attest(process, WANTED))
    assert len(attestor._hashes) == 1
    _replace(program, b"\0")
    with running(program) as process:
        assert _digest(program) in map(str, await attestor.attest(process, WANTED))
    assert len(attestor._hashes) == 2


async def test_what_is_hashed_is_what_runs(program: Path) -> None:
    """A file that took the program's path after it started lends it no digest."""
    with running(program) as process:
        before = _digest(program)
        _replace(program, b"more")
        assert before in map(str, await UnixAttestor().attest(process, WANTED))


async def test_a_process_that_ran_something_else_before_is_refused(program: Path) -> None:
    """Between accept and hashing it became another program: the digest of either would be a lie."""
    with becoming(program) as process, pytest.raises(RingfenceError):
        await UnixAttestor().attest(process, WANTED)
