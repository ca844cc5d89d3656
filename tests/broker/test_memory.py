"""Tests of keeping a daemon small."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys

import pytest

from ringfence.broker import memory

_PRELUDE = """
import ctypes
from pathlib import Path
from ringfence.broker import memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
"""


def _run(text: str) -> str:
    done = subprocess.run([sys.executable, "-c", _PRELUDE + text], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_was_freed_goes_back() -> None:
    """The last block, still in use, pins a heap of 64 MiB; giving back frees the pages below it all the same."""
    told = _run("""
blocks = [libc.malloc(64 * 1024) for _ in range(1024)]
for block in blocks:
    ctypes.memset(block, 1, 64 * 1024)
for block in blocks[:-1]:
    libc.free(block)
before = resident()
print(memory.give_back(), before - resident() > 48 << 20)
""")
    assert told == "True True"


def test_without_glibc_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library that has no such call is left alone."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.give_back()


async def test_it_gives_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and after each interval, until it is cancelled."""
    times = 0
    thrice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note() -> None:
        nonlocal times
        times += 1
        if times == 3:
            loop.call_soon_threadsafe(thrice.set)

    monkeypatch.setattr(memory, "give_back", note)
    task = asyncio.ensure_future(memory.keep_little(every=0))
    await thrice.wait()
    task.cancel()
    assert times >= 3
