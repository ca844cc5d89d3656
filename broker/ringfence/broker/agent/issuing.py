"""Gets SVIDs from the server: all that are missing or due in one message, each with a key that was just made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.link import MAX_BATCH, Link
from ringfence.broker.agent.svids import HeldSvid, SvidStore, draw_jitter, new_key
from ringfence.certs.errors import RingfenceError
from ringfence.certs.profile import new_csr

# Never sleep past this, so that a clock that jumped is noticed.
_LONGEST_SLEEP = timedelta(seconds=30)
_SHORTEST_SLEEP = timedelta(milliseconds=20)  # what falls due within it goes out in the same message
_OVERDUE_SLEEP = timedelta(seconds=1)  # when what is due is being asked for, or nobody uses it
PATIENCE = 30.0  # seconds for an answer
PAUSE = 1.0  # seconds after a failure
TRANSIENT = frozenset({4, 8, 10, 13, 14})  # gRPC codes after which the same question may succeed


class Issuer:
    """Asks as soon as something is needed; questions may overlap, an entry is in one of them at a time."""

    def __init__(self, cache: Cache, link: Link) -> None:
        self._cache = cache
        self._link = link
        self._asked: set[str] = set()

    async def run(self) -> None:
        """For as long as the agent lives."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._link.connected.wait()
                self._cache.needs.wake.clear()
                due = [entry for entry in self._cache.take_needs() if entry.id not in self._asked]
                for start in range(0, len(due), MAX_BATCH):
                    batch = due[start : start + MAX_BATCH]
                    self._asked.update(entry.id for entry in batch)
                    tasks.create_task(self._ask(batch))
                await until_due(self._cache.svids, self._cache.clock(), self._cache.needs.wake)

    async def _ask(self, batch: Sequence[Entry]) -> None:
        keys = [new_key() for _ in batch]
        items = [
            agent_pb2.SvidItem(entry_id=entry.id, csr=new_csr(key)) for entry, key in zip(batch, keys, strict=True)
        ]
        try:
            async with asyncio.timeout(PATIENCE):
                results = await self._link.request_svids(items)
        except (RingfenceError, TimeoutError):
            results = ()
        answers = {result.entry_id: result for result in results}
        for entry, key in zip(batch, keys, strict=True):
            self._take(entry, key, answers.get(entry.id))
        self._cache.needs.wake.set()  # what came may fall due before the sleep that began without it would end

    def _take(self, entry: Entry, key: ec.EllipticCurvePrivateKey, result: agent_pb2.SvidResult | None) -> None:
        if result is None or result.code in TRANSIENT:
            self._ask_later(entry)
            return
        if result.code:
            self._asked.discard(entry.id)
            self._cache.refuse(entry.id, result.detail)
            return
        try:
            svid = HeldSvid.of(result.chain, key, entry.spiffe_id, draw_jitter())
        except RingfenceError as error:
            self._asked.discard(entry.id)
            self._cache.refuse(entry.id, error.detail)
            return
        self._cache.put(entry, svid)
        if rest := svid.rest(self._cache.clock()):
            asyncio.get_running_loop().call_later(rest, self._wake, entry.id)
        else:
            self._asked.discard(entry.id)

    def _wake(self, entry_id: str) -> None:
        """It may be asked for again, if anybody uses it."""
        self._asked.discard(entry_id)
        self._cache.needs.wake.set()

    def _ask_later(self, entry: Entry) -> None:
        """Once more after a pause; whoever waits goes on waiting."""
        events.COUNTS["svid_failures", "again"] += 1
        pause = PAUSE * (1 + abs(draw_jitter()))
        asyncio.get_running_loop().call_later(pause, self._release, entry)

    def _release(self, entry: Entry) -> None:
        self._asked.discard(entry.id)
        self._cache.needs.add(entry)


async def until_due(svids: SvidStore[Any], now: datetime, wake: asyncio.Event) -> None:
    """Until something is needed or the next of *svids* is due; those that have ended are dropped."""
    svids.drop_ended(now)
    pause = _LONGEST_SLEEP
    if (due := svids.next_due()) is not None:
        pause = min(pause, max(due - now, _SHORTEST_SLEEP) if due > now else _OVERDUE_SLEEP)
    with suppress(TimeoutError):
        async with asyncio.timeout(pause.total_seconds()):
            await wake.wait()
