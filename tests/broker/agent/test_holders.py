"""Who holds streams is told when it becomes another, by the kernel's word or by a look; the kernel is a fake here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from ringfence.broker.agent import events, holders
from ringfence.broker.agent.holders import Holders
from ringfence.broker.attest import procfs
from ringfence.broker.attest.process_events import Event, MessagesLostError
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import RingfenceError


class FakeEvents:
    """What the kernel would say; each *say* is one time that it can be read."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        os.set_blocking(self._ours, False)
        self._waiting: list[Event | Exception] = []
        self.closed = False

    def say(self, *said: Event | Exception) -> None:
        """Have it read."""
        self._waiting += said
        os.write(self._theirs, b"!")

    def fileno(self) -> int:
        """As ProcessEvents."""
        return self._ours

    def read(self) -> Iterator[Event]:
        """As ProcessEvents."""
        with suppress(BlockingIOError):
            os.read(self._ours, 100)
        while self._waiting:
            said = self._waiting.pop(0)
            if isinstance(said, Exception):
                raise said
            yield said

    def close(self) -> None:
        """As ProcessEvents."""
        self.closed = True
        os.close(self._ours)
        os.close(self._theirs)


class Told:
    """What a holder was told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.first = asyncio.Event()

    def __call__(self, error: RingfenceError) -> None:
        """As who holds is called."""
        self.words.append(error.detail)
        self.first.set()

    async def why(self) -> str:
        """The first word, waited for."""
        async with asyncio.timeout(30):
            await self.first.wait()
        return self.words[0]


@pytest.fixture
def fake() -> FakeEvents:
    """The kernel's word."""
    return FakeEvents()


@pytest.fixture
def shell() -> Iterator[subprocess.Popen[bytes]]:
    """A process that becomes cat when it reads a line."""
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/sh", "-c", "read line; exec /bin/cat"], stdin=pipe, stdout=pipe) as process:
        yield process
        process.kill()


def _become_cat(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\necho\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"echo\n"


def _exec(pid: int) -> Event:
    """Now."""
    return Event(pid, executed=True, at=time.monotonic_ns())


def _process(pid: int) -> Process:
    return procfs.hold(pid, os.geteuid(), os.getegid(), None)


@asynccontextmanager
async def _running(found: Holders) -> AsyncIterator[Holders]:
    """Past its first look, which is at nobody."""
    task = asyncio.create_task(found.run())
    await asyncio.sleep(0)
    yield found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _refused() -> FakeEvents:
    raise PermissionError(1, "Operation not permitted")


async def test_an_exec_that_the_kernel_tells_of_is_learned_at_once(
    fake: FakeEvents, shell: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any look, and once; another holder hears nothing."""
    monkeypatch.setattr(holders, "_STEP", 60)
    before = events.COUNTS["changed_callers", "event"]
    async with _running(Holders(lambda: fake)) as held:
        told, other = Told(), Told()
        held.hold(_process(shell.pid), told)
        held.hold(_process(os.getpid()), other)
        _become_cat(shell)
        fake.say(_exec(shell.pid), _exec(shell.pid), _exec(os.getppid()))
        assert await told.why() == f"process {shell.pid} runs another program now"
        assert held.are_told_of
    assert (len(told.words), other.words) == (1, [])
    assert events.COUNTS["changed_callers", "event"] == before + 1
    assert fake.closed


async def test_the_same_program_again_changes_nothing(fake: FakeEvents, shell: subprocess.Popen[bytes]) -> None:
    """All that was attested of it is still so; whoever is read of after it is told."""
    _become_cat(shell)
    async with _running(Holders(lambda: fake)) as held:
        known, other = Told(), Told()
        held.hold(_process(shell.pid), known)
        held.hold(replace(_process(os.getpid()), started=1), other)
        fake.say(_exec(shell.pid), _exec(os.getpid()))
        await other.why()
    assert known.words == []


async def test_a_program_that_cannot_be_seen_is_another_one(
    fake: FakeEvents, shell: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another user's process an agent that is not root knows that it executed something, and not what.

    But a process starts by an exec: that one, however late we read of it, is what was attested.
    """
    monkeypatch.setattr(procfs, "executable_of", lambda _: None)
    monkeypatch.setattr(procfs, "_file_of", lambda _: None)
    early = _exec(shell.pid)
    async with _running(Holders(lambda: fake)) as held:
        unseen, other = Told(), Told()
        held.hold(_process(shell.pid), unseen)
        held.hold(replace(_process(os.getpid()), started=1), other)
        fake.say(early, _exec(os.getpid()))
        await other.why()
        assert unseen.words == []
        fake.say(_exec(shell.pid))
        assert await unseen.why() == f"process {shell.pid} runs another program now"


async def test_who_let_go_is_told_nothing(fake: FakeEvents, shell: subprocess.Popen[bytes]) -> None:
    """Of two holds by one process, the one that was released is passed over."""
    async with _running(Holders(lambda: fake)) as held:
        gone, there = Told(), Told()
        release = held.hold(_process(shell.pid), gone)
        held.hold(_process(shell.pid), there)
        release()
        release()
        _become_cat(shell)
        fake.say(_exec(shell.pid))
        await there.why()
    assert gone.words == []


async def test_lost_messages_have_everybody_looked_at(
    fake: FakeEvents, shell: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time of a look, although the next one was far away; and after it the kernel is believed again."""
    monkeypatch.setattr(holders, "_SELDOM", 600.0)
    monkeypatch.setattr(holders, "_STEP", 0.001)
    held = Holders(lambda: fake)
    first = Told()
    held.hold(replace(_process(shell.pid), started=1), first)
    async with _running(held):
        await first.why()  # the look with which it starts is under way, and at nobody who comes now
        told = Told()
        held.hold(_process(shell.pid), told)
        _become_cat(shell)
        fake.say(MessagesLostError())
        assert await told.why() == f"process {shell.pid} runs another program now"
        assert held.are_told_of


async def test_a_source_that_breaks_is_looks_from_then_on(
    fake: FakeEvents, shell: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And /metrics says so."""
    monkeypatch.setattr(holders, "_STEP", 0.001)
    async with _running(Holders(lambda: fake)) as held:
        fake.say(OSError(9, "Bad file descriptor"))
        told = Told()
        held.hold(_process(shell.pid), told)
        _become_cat(shell)
        assert await told.why() == f"process {shell.pid} runs another program now"
        assert not held.are_told_of
    assert fake.closed


async def test_without_the_kernels_word_a_look_finds_it(
    shell: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program, and then an end that no pidfd tells of."""
    monkeypatch.setattr(holders, "_STEP", 0.001)
    async with _running(Holders(_refused)) as held:
        told, ended = Told(), Told()
        held.hold(_process(shell.pid), told)
        _become_cat(shell)
        assert await told.why() == f"process {shell.pid} runs another program now"
        held.hold(_process(shell.pid), ended)
        shell.send_signal(signal.SIGKILL)
        shell.wait()
        assert await ended.why() == f"process {shell.pid}, which called, is gone"
        assert not held.are_told_of


async def test_ten_thousand_are_looked_at_in_bounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred a step: what the loop is kept from is bounded, and the round takes a hundred steps, so five seconds."""
    steps: list[int] = []
    checked: list[Process] = []

    async def step(seconds: float) -> None:
        assert seconds == holders._STEP
        steps.append(len(checked))

    monkeypatch.setattr(procfs, "check", lambda process, **_: checked.append(process))
    monkeypatch.setattr(asyncio, "sleep", step)
    held = Holders(_refused)
    process = _process(os.getpid())
    for _ in range(10_000):
        held.hold(process, Told())
    await held._look()
    assert steps == list(range(100, 10_001, 100))
    assert len(steps) * holders._STEP == pytest.approx(5)
