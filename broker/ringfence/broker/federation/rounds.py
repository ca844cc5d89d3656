"""Fetches each bundle when the timetable says so: side by side, and one fetch at a time of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from ringfence.broker.federation.schedule import Timetable
from ringfence.broker.log import log
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import TrustDomain


class Rounds:
    """*refresh* fetches one now and moves it in the timetable; *skip* moves one that another server fetches.

    Of several servers the one *on_duty* fetches what is due by its hint, and the others follow. What was hastened is
    fetched by the server that was told of the missing key: the one on duty may know nothing of it.
    """

    def __init__(
        self,
        timetable: Timetable,
        refresh: Callable[[TrustDomain], Awaitable[object]],
        skip: Callable[[TrustDomain], None],
        *,
        clock: Callable[[], datetime],
        on_duty: Callable[[], Awaitable[bool]],
    ) -> None:
        self._timetable = timetable
        self._refresh = refresh
        self._skip = skip
        self._clock = clock
        self._on_duty = on_duty
        self._under_way: set[TrustDomain] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the timetable: it has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Fetch what is due, until cancelled. A partner that is slow to answer holds up no other."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                due = [domain for domain in self._timetable.due(self._clock()) if domain not in self._under_way]
                for domain in await self._ours(due):
                    self._under_way.add(domain)
                    tasks.create_task(self._one(domain))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()

    def _pause(self) -> float | None:
        """Seconds until something is due; None for as long as nothing changes."""
        next_at = self._timetable.next_at(but=self._under_way)
        return None if next_at is None else max((next_at - self._clock()).total_seconds(), 0)

    async def _ours(self, due: Sequence[TrustDomain]) -> Sequence[TrustDomain]:
        by_hint = [domain for domain in due if not self._timetable.is_hastened(domain)]
        if not by_hint or await self._is_on_duty():
            return due
        for domain in by_hint:
            self._skip(domain)
        return [domain for domain in due if domain not in by_hint]

    async def _is_on_duty(self) -> bool:
        try:
            return await self._on_duty()
        except RingfenceError:  # the database is away, and with it the place where a bundle would be kept
            return False

    async def _one(self, trust_domain: TrustDomain) -> None:
        try:
            await self._refresh(trust_domain)
        except RingfenceError as error:
            log.warning("bundle not refreshed", trust_domain=trust_domain.name, detail=error.detail, where=error.where)
        finally:
            self._under_way.discard(trust_domain)
            self.wake()
