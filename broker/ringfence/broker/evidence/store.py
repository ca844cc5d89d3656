"""The last decisions, in memory and bounded: found by id, waited for, and followed as they come."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from ringfence.broker.evidence.record import Filter, Record
from ringfence.policy.model import CONNECTION_LIMITED
from ringfence.policy.traffic import RATE_LIMITED

CAPACITY = 10_000
_FOLLOWER_CAPACITY = 1_000


class DecisionStore:
    """Keeps the last *capacity* decisions; what is pushed out is counted, and so is what a slow follower misses."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._records: deque[Record] = deque()
        self._by_id: dict[str, list[Record]] = {}
        self._waiters: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._followers: set[asyncio.Queue[Record]] = set()
        self.added = 0
        self.limited = 0  # of those, for a rate limit
        self.connections_limited = 0  # of those, for a limit of connections
        self.evicted = 0
        self.missed = 0  # by followers who did not keep up

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keep *record* and tell whoever waits for it."""
        if len(self._records) >= self._capacity:
            self._evict()
        self._records.append(record)
        self._by_id.setdefault(record.id, []).append(record)
        self.added += 1
        self.limited += record.rule == RATE_LIMITED
        self.connections_limited += record.rule == CONNECTION_LIMITED
        for waiter in self._waiters.pop(record.id, ()):
            if not waiter.done():
                waiter.set_result(None)
        for queue in self._followers:
            try:
                queue.put_nowait(record)
            except asyncio.QueueFull:
                self.missed += 1

    def find(self, decision_id: str) -> tuple[Record, ...]:
        """Every kept decision of that id, oldest first; one a proxy that judged the request."""
        return tuple(self._by_id.get(decision_id, ()))

    async def wait(self, decision_id: str, seconds: float) -> tuple[Record, ...]:
        """As `find`, but wait up to *seconds* for the first: proxies report with a delay."""
        if not (found := self.find(decision_id)) and seconds > 0:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters[decision_id].add(waiter)
            try:
                async with asyncio.timeout(seconds):
                    await waiter
            except TimeoutError:
                pass
            finally:
                self._forget(decision_id, waiter)
            found = self.find(decision_id)
        return found

    def last(self, count: int, wanted: Filter) -> tuple[Record, ...]:
        """The last *count* decisions that *wanted* wants, oldest first."""
        found: deque[Record] = deque(maxlen=count)
        found.extend(record for record in self._records if wanted.wants(record))
        return tuple(found)

    @contextmanager
    def following(self) -> Iterator[asyncio.Queue[Record]]:
        """Decisions from now on, as they come, while the block lives."""
        queue: asyncio.Queue[Record] = asyncio.Queue(_FOLLOWER_CAPACITY)
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)

    def _forget(self, decision_id: str, waiter: asyncio.Future[None]) -> None:
        if waiters := self._waiters.get(decision_id):
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[decision_id]

    def _evict(self) -> None:
        oldest = self._records.popleft()
        same = self._by_id[oldest.id]
        same.pop(0)
        if not same:
            del self._by_id[oldest.id]
        self.evicted += 1
