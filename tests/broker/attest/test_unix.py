"""Users, groups and binaries as selectors."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path

import pytest

from ringfence.broker.attest import procfs
from ringfence.broker.attest.unix import UnixAttestor

EXECUTABLE = Path("/proc/self/exe").resolve()


@pytest.fixture
def own() -> procfs.Process:
    """The process of the tests."""
    return procfs.hold(os.getpid(), os.geteuid(), os.getegid(), None)


async def _facts(process: procfs.Process, *wanted: str) -> set[str]:
    return {str(selector) for selector in await UnixAttestor().attest(process, frozenset(wanted))}


async def test_numbers_are_always_told(own: procfs.Process) -> None:
    """uid, gid and supplementary gids come without being asked for; nothing that costs does."""
    expected = {f"unix:uid:{os.geteuid()}", f"unix:gid:{os.getegid()}"}
    expected |= {f"unix:supplementary_gid:{gid}" for gid in os.getgroups()}
    assert await _facts(own) == expected


async def test_names_are_told_when_an_entry_asks(own: procfs.Process) -> None:
    """user, group and supplementary_group by name, when wanted."""
    found = await _facts(own, "unix:user")
    assert f"unix:user:{pwd.getpwuid(os.geteuid()).pw_name}" in found
    assert f"unix:group:{grp.getgrgid(os.getegid()).gr_name}" in found


async def test_path_and_hash_are_told_when_an_entry_asks(own: procfs.Process) -> None:
    """The real path of the executable and the SHA-256 of its bytes, when wanted."""
    found = await _facts(own, "unix:path", "unix:sha256")
    assert f"unix:path:{EXECUTABLE}" in found
    assert f"unix:sha256:{hashlib.sha256(EXECUTABLE.read_bytes()).hexdigest()}" in found
