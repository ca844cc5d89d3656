"""Writes what comes of the claims of connected nodes: admitted on disk and in the audit log before anybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.fabric import events
from ringfence.broker.fabric.members import Members, Node
from ringfence.broker.feed import Feed
from ringfence.broker.log import log
from ringfence.broker.store import fabric_claims
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.fabric.admission import Steps, next_renewal, steps
from ringfence.fabric.claims import Claim, judge
from ringfence.fabric.membership import GRACE, Standing

_RETRY = 1.0  # seconds until what could not be written is tried again
_LONGEST_SLEEP = 30.0  # seconds: a clock that was set is noticed by then


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction came to."""

    admitted: tuple[Standing, ...] = ()  # those that are new, or have other addresses than before
    gone: tuple[tuple[Standing, str], ...] = ()
    refused: Mapping[Claim, RingfenceError] = field(default_factory=dict)
    news: Mapping[Claim, RingfenceError] = field(default_factory=dict)  # of those refused what nobody was told yet


class Admitting:
    """One task that looks whenever a node has said something or anything else has changed."""

    def __init__(self, members: Members, *, store: Store, feed: Feed, audit: AuditLog | None, me: str) -> None:
        self.members = members
        self._store = store
        self._feed = feed
        self._audit = audit
        self._me = me
        self._lost: dict[str, int] = {}  # agents whose stream ended, and when their claims go
        self._seen = members.view
        self._done = -1  # the view of which everything is written

    async def load(self) -> None:
        """Read what stands. What nodes claimed of this server before it ended has a time to go: they come back."""
        await self._store.run(fabric_claims.leave, self._me, self._now() + GRACE)
        await self.members.follow(None)

    @contextmanager
    def stream(self, agent: SpiffeId) -> Iterator[Node]:
        """A node that keeps fabrics, for as long as its stream lives."""
        name, node = str(agent), Node()
        self.members.nodes[name] = node
        try:
            yield node
        finally:
            if self.members.nodes.get(name) is node:  # else it has opened another one
                del self.members.nodes[name]
                self._lost[name] = self._now() + GRACE
                self.members.changed()

    def claim(self, node: Node, claims: tuple[Claim, ...]) -> None:
        """Take in what a node claims, all of it."""
        node.claims, node.fresh = claims, True
        self.members.changed()

    async def run(self) -> None:
        """Until cancelled."""
        with self.members.bell.listen() as rung:
            while True:
                rung.clear()
                wait = await self._looked()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, _LONGEST_SLEEP)):
                        await rung.wait()

    async def _looked(self) -> float:
        try:
            return await self.look()
        except RingfenceError as error:
            log.error("claims on fabrics are not written", detail=error.detail, where=error.where)
        except Exception as error:  # noqa: BLE001  # grants must go on ending on time: it is tried again
            # Without source lines: reading them would block the loop.
            log.error("claims on fabrics are not written", error=type(error).__name__, detail=str(error))
        return _RETRY

    async def look(self) -> float:
        """Do what is due; seconds until there is more. Raises what the store and the audit log raise."""
        # 1. What the clock has ended is told, as what anybody has changed: it needs no disk.
        self._ring_if_different()
        # 2. Nodes that are gone have their claims go in time.
        await self._leave()
        # 3. The rest is written, if there is any.
        asked = self._asked()
        renewal = next_renewal(asked, self.members.rows)
        if self.members.view.number != self._done or (renewal is not None and renewal <= self._now()):
            await self._write(asked)
        ends = [self.members.view.judged.changes_at, next_renewal(self._asked(), self.members.rows)]
        return max(min((end for end in ends if end is not None), default=self._now() + 3600) - self._exactly(), 0)

    async def _leave(self) -> None:
        lost = dict(self._lost)
        for leaves in sorted(set(lost.values())):
            agents = [agent for agent, its in lost.items() if its == leaves]
            left = await self._store.run(fabric_claims.leave, self._me, leaves, agents)
            events.nodes_left(left)
        for agent, leaves in lost.items():
            if self._lost.get(agent) == leaves:
                del self._lost[agent]
        if lost:
            await self._feed.catch_up()

    def _ring_if_different(self) -> None:
        seen, self._seen = self._seen, self.members.view
        if self._seen is not seen:
            self.members.bell.ring()

    def _asked(self) -> dict[str, tuple[Claim, ...]]:
        """What nodes that are connected here claim: but for one that was heard of elsewhere since it said so."""
        elsewhere = {one.claim.agent for one in self.members.rows if one.server not in {"", self._me}}
        for agent, node in self.members.nodes.items():
            if agent in elsewhere and node.claims is not None and not node.fresh:
                node.claims = None
                self.members.changed()
        return {agent: node.claims for agent, node in self.members.nodes.items() if node.claims is not None}

    async def _write(self, asked: Mapping[str, tuple[Claim, ...]]) -> None:
        view, now = self.members.view, self._now()
        judging = partial(judge, leave=view.leave, given=self.members.sources.given)
        due = steps(asked, self.members.rows, view.judged, judging, now=now, me=self._me)
        known = {claim: error.detail for node in self.members.nodes.values() for claim, error in node.refused.items()}
        if due.put or due.gone or _news(due.refused, known):
            had = {one.claim for one in self.members.rows}
            work = partial(_written, due=due, had=had, known=known, now=now)
            written = await recorded(self._store, self._audit, work, _said)
            self._note(asked, written.refused)
            events.written(written.admitted, written.gone, written.news)
            await self._feed.catch_up()
        else:
            self._note(asked, due.refused)
        self._done = view.number

    def _note(self, asked: Mapping[str, tuple[Claim, ...]], refused: Mapping[Claim, RingfenceError]) -> None:
        """Have each node know what is refused of what it claims."""
        changed = False
        for agent, claims in asked.items():
            node = self.members.nodes.get(agent)
            if node is None or node.claims is not claims:
                continue  # it has said something else meanwhile
            node.fresh = False
            now = {claim: refused[claim] for claim in claims if claim in refused}
            if [(claim, error.detail) for claim, error in now.items()] != [
                (claim, error.detail) for claim, error in node.refused.items()
            ]:
                node.refused, changed = now, True
        if changed:
            self.members.changed()

    def _now(self) -> int:
        return int(self._exactly())

    def _exactly(self) -> float:
        return self.members.sources.clock().timestamp()


def _written(connection: Connection, *, due: Steps, had: set[Claim], known: Mapping[Claim, str], now: int) -> Written:
    gone = set(fabric_claims.remove(connection, [one for one, _ in due.gone]))
    taken = fabric_claims.put(connection, due.put, now)
    admitted = tuple(one for one in due.put if one.claim not in had and one not in taken)
    left = tuple((one, why) for one, why in due.gone if one in gone)
    refused = {**due.refused, **{one.claim: error for one, error in taken.items()}}
    return Written(admitted, left, refused, _news(refused, known))


def _news(refused: Mapping[Claim, RingfenceError], known: Mapping[Claim, str]) -> dict[Claim, RingfenceError]:
    return {claim: error for claim, error in refused.items() if known.get(claim) != error.detail}


def _said(written: Written) -> Sequence[Event]:
    return [
        *(events.gone(one.claim, why) for one, why in written.gone),
        *(events.admitted(one.claim) for one in written.admitted),
        *(events.refused(claim, error) for claim, error in written.news.items()),
    ]
