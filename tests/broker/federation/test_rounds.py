"""The loop that fetches: side by side, one at a time of each, and by the server whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from ringfence.broker.federation.relation import Profile, Relation
from ringfence.broker.federation.rounds import Rounds
from ringfence.broker.federation.schedule import SOONEST, Timetable
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.world import Clock

B, C = TrustDomain("b.test"), TrustDomain("c.test")
HINT = timedelta(minutes=5)


@dataclass
class Partners:
    """Endpoints that answer when they are let; what they were asked is told in order."""

    clock: Clock = field(default_factory=Clock)
    timetable: Timetable = field(default_factory=Timetable)
    on_duty: bool = True
    slow: dict[TrustDomain, asyncio.Event] = field(default_factory=dict)
    asked: asyncio.Queue[TrustDomain] = field(default_factory=asyncio.Queue)
    duty_asked: asyncio.Event = field(default_factory=asyncio.Event)
    failure: RingfenceError | None = None

    def __post_init__(self) -> None:
        for domain in (B, C):
            self.timetable.add(Relation(domain, f"https://{domain}/", Profile.WEB), self.clock())
        self.rounds = Rounds(self.timetable, self._fetch, self._skip, clock=self.clock, on_duty=self._is_on_duty)

    async def next(self) -> TrustDomain:
        """Who is asked next."""
        async with asyncio.timeout(30):
            return await self.asked.get()

    def hasten(self, domain: TrustDomain) -> None:
        """Somebody missed a key."""
        assert self.timetable.hasten(domain, self.clock())
        self.rounds.wake()

    async def _fetch(self, domain: TrustDomain) -> None:
        began, relation = self.clock(), self.timetable.state(domain).relation
        self.asked.put_nowait(domain)
        if domain in self.slow:
            await self.slow[domain].wait()
        if self.failure is not None:
            self.timetable.failed(relation, began, self.clock(), HINT, "away")
            raise self.failure
        self.timetable.fetched(relation, began, self.clock(), HINT)

    def _skip(self, domain: TrustDomain) -> None:
        self.timetable.skip(domain, self.clock(), HINT)

    async def _is_on_duty(self) -> bool:
        self.duty_asked.set()
        return self.on_duty


@asynccontextmanager
async def going(partners: Partners) -> AsyncIterator[None]:
    """While the loop runs; what it raised otherwise is raised here."""
    running = asyncio.create_task(partners.rounds.run())
    yield
    running.cancel()
    [ended] = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended


async def until(done: Callable[[], bool]) -> None:
    """Give others their turn until *done*."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def test_a_partner_that_does_not_answer_holds_up_no_other() -> None:
    """The bundle of one is fetched for a missed key while another's endpoint says nothing."""
    partners = Partners()
    partners.slow[B] = asyncio.Event()
    async with going(partners):
        assert {await partners.next(), await partners.next()} == {B, C}
        partners.clock.turn(seconds=1)
        partners.hasten(C)
        assert await partners.next() == C


async def test_one_fetch_of_each_is_under_way_at_a_time() -> None:
    """A key that is missed meanwhile has it fetched anew, afterwards."""
    partners = Partners()
    partners.slow[B] = asyncio.Event()
    async with going(partners):
        assert {await partners.next(), await partners.next()} == {B, C}
        partners.clock.turn(seconds=1)
        partners.hasten(B)
        partners.hasten(C)
        assert await partners.next() == C  # a turn in which B was due too
        assert partners.asked.empty()
        partners.slow[B].set()
        assert await partners.next() == B


async def test_what_is_due_by_its_hint_is_fetched_by_the_server_on_duty() -> None:
    """The others leave it for the next time."""
    partners = Partners(on_duty=False)
    async with going(partners):
        await partners.duty_asked.wait()
        await until(lambda: not partners.timetable.due(partners.clock()))
        partners.on_duty = True
        partners.clock.turn(minutes=6)
        partners.rounds.wake()
        assert {await partners.next(), await partners.next()} == {B, C}


async def test_a_missed_key_is_looked_for_by_the_server_that_was_told() -> None:
    """The one on duty may know nothing of it."""
    partners = Partners(on_duty=False)
    async with going(partners):
        await until(lambda: not partners.timetable.due(partners.clock()))
        partners.hasten(B)
        assert await partners.next() == B
        await until(lambda: not partners.timetable.due(partners.clock()))
        assert partners.asked.empty()


async def test_a_failure_is_not_the_end() -> None:
    """Whether a partner's or the database's, which says who is on duty."""
    partners = Partners(failure=RingfenceError(Kind.UNAVAILABLE, "away"))
    async with going(partners):
        assert {await partners.next(), await partners.next()} == {B, C}
        await until(lambda: not partners.timetable.due(partners.clock()))
        partners.failure = None
        partners.clock.turn(seconds=SOONEST.total_seconds())
        partners.hasten(B)
        assert await partners.next() == B
