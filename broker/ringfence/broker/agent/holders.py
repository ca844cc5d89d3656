"""The processes that hold streams: whose becomes another program, another user or group, or ends, learns it here.

Two ways to see it. The kernel tells (attest/process_events), where it may; or else all are looked at in turn, which
costs the same however many there are: the more, the longer a turn lasts. The check before each message stands beside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ringfence.broker.agent import events
from ringfence.broker.attest import procfs
from ringfence.broker.attest.process_events import Event, MessagesLostError, ProcessEvents
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import RingfenceError

_STEPS = 20  # in which all are looked at, one after the other
_STEP = 0.05  # seconds
_A_STEP = 100  # processes at most, a millisecond of work: 2 % of a core, and 2,000 in a second
_SELDOM = 30.0  # seconds between looks while the kernel tells, for what it might keep from us unsaid


class Source(Protocol):
    """Where events come from, as ProcessEvents."""

    def fileno(self) -> int:
        """What can be read when there are some."""
        ...

    def read(self) -> Iterator[Event]:
        """Those that wait; raises MessagesLostError, or OSError when there will be no more."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    process: Process
    changed: Callable[[RingfenceError], None]
    since: int  # ns of time.monotonic_ns


class Holders:
    """Who holds, by pid; `run` goes on beside whatever serves them."""

    def __init__(self, listen: Callable[[], Source] = ProcessEvents.open) -> None:
        self._listen = listen
        self._source: Source | None = None
        self._by_pid: dict[int, set[_Held]] = {}
        self._lost = asyncio.Event()

    @property
    def are_told_of(self) -> bool:
        """Whether the kernel tells; otherwise they are looked at."""
        return self._source is not None

    def hold(self, process: Process, changed: Callable[[RingfenceError], None]) -> Callable[[], None]:
        """Call *changed* once if *process* is no more what it was; until the function that this returns is called."""
        held = _Held(process, changed, time.monotonic_ns())
        self._by_pid.setdefault(process.pid, set()).add(held)
        return lambda: self._release(held)

    async def run(self) -> None:
        """Until cancelled: hear of changes if the kernel will tell, and look at all of them, seldom while it does."""
        self._start()
        try:
            while True:
                await self._look()
                if self._source is not None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_SELDOM):
                            await self._lost.wait()
                    self._lost.clear()
        finally:
            self._stop()

    def _start(self) -> None:
        try:
            self._source = self._listen()
        except OSError as error:
            events.holders_looked_at(error)
            return
        asyncio.get_running_loop().add_reader(self._source.fileno(), self._read)
        events.holders_told_of()

    def _stop(self) -> None:
        if self._source is not None:
            asyncio.get_running_loop().remove_reader(self._source.fileno())
            self._source.close()
            self._source = None

    async def _look(self) -> None:
        every = [held for each in self._by_pid.values() for held in each]
        steps = max(_STEPS, -(-len(every) // _A_STEP))
        for step in range(steps):
            for held in every[step::steps]:
                self._check(held, "look")
            await asyncio.sleep(_STEP)

    def _read(self) -> None:
        assert self._source is not None  # noqa: S101  # read while it is there
        try:
            for event in self._source.read():
                for held in tuple(self._by_pid.get(event.pid, ())):
                    # What it executed before it connected is what was attested, however late we read of it.
                    self._check(held, "event", executed=event.executed and event.at > held.since)
        except MessagesLostError:
            events.process_events_lost()
            self._lost.set()
        except OSError as error:
            self._stop()
            events.holders_looked_at(error)
            self._lost.set()

    def _check(self, held: _Held, seen_by: str, *, executed: bool = False) -> None:
        if held not in self._by_pid.get(held.process.pid, ()):
            return  # it left while we were on the way to it
        try:
            procfs.check(held.process, executed=executed)
        except RingfenceError as error:
            self._release(held)
            events.holder_changed(seen_by)
            held.changed(error)

    def _release(self, held: _Held) -> None:
        others = self._by_pid.get(held.process.pid, set())
        others.discard(held)
        if not others:
            self._by_pid.pop(held.process.pid, None)
