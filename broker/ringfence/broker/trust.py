"""The authority of one server as it lives: rotated by the clock and by hand, each step published before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ringfence.broker import events
from ringfence.broker.audit.authority import Keys
from ringfence.broker.log import log
from ringfence.broker.others import Others
from ringfence.broker.published import Place, Published
from ringfence.broker.spread import LEAD_SECONDS
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import PublicKey
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.line import Part
from ringfence.certs.rotation import Step
from ringfence.certs.shared import PublishedKey, Shared

SPREAD_MS = 2_000  # over which agents renew after a rotation, so that they do not ask at once


class Trust(Published):
    """What is published, and the steps that change it, one at a time."""

    def __init__(
        self, authority: Authority, sequence: int, place: Place, *, others: Others, before: Keys | None
    ) -> None:
        super().__init__(authority, sequence, place, others=others, before=before)
        self.rotations = 0  # times that agents were told to renew; each stream remembers the last it passed on
        self._one_at_a_time = asyncio.Lock()

    async def step(self) -> Step:
        """Do what `next_step` says is due; what was done."""
        async with self._one_at_a_time:
            if self._unpublished:
                await self.publish()  # what the last try made must be known before it is used
            now = self._clock()
            due = self.authority.next_step(now)
            match due:
                case Step.WAIT:
                    return due
                case Step.PREPARE:
                    self._unpublished = True  # one kind may be made and the other fail
                    await asyncio.to_thread(self.authority.prepare, now, self.authority.due(due, now))
                case Step.ACTIVATE:
                    # When it ends, it is too late to wait for servers that do not follow.
                    if now < self.authority.current.x509.not_after and not await self._spread.is_done():
                        return Step.WAIT
                    self.authority.activate(now, self.authority.due(due, now))
                case Step.PRUNE:
                    await asyncio.to_thread(self.authority.prune, now)
            await self.publish()
            if due is Step.ACTIVATE:
                self.tell_agents()
            events.authority_step(due.value, self.authority.current.x509.subject_key_id)
            return due

    async def replace(self, *, lead_seconds: float = LEAD_SECONDS) -> None:
        """Publish a new authority, give it *lead_seconds* to reach everyone who verifies, then sign with it."""
        async with self._one_at_a_time:
            now = self._clock()
            if missing := self.authority.unprepared(now):
                self._unpublished = True
                await asyncio.to_thread(self.authority.prepare, now, missing)
                await self.publish()
            await self._spread.wait(lead_seconds)
            self.authority.activate(now)
            await self.publish()
            events.authority_step("replace", self.authority.current.x509.subject_key_id)

    async def take(self, kind: str, step: str, authority_id: str = "", *, lead_seconds: float = LEAD_SECONDS) -> Part:
        """One step by hand, on disk and published when this returns; the authority as it is then.

        Raises INVALID, NOT_FOUND, and CONFLICT for a step out of order; then nothing has changed.
        """
        async with self._one_at_a_time:
            if self._unpublished:
                await self.publish()
            line, now = self.authority.line(kind), self._clock()
            taken: Part
            match step:
                case "prepare":
                    taken = await asyncio.to_thread(self.authority.prepare_one, now, kind)
                case "activate":
                    await self._spread.wait(lead_seconds)
                    taken = line.activate(now, authority_id)
                case "taint":
                    taken = line.taint(authority_id)
                case "revoke":
                    self.authority.check_revocable(kind)
                    taken = line.revoke(authority_id)
                    self.authority.withdraw(taken)
                case _:
                    raise _no_step(step)
            await self.publish()
            await self._after(step)
            events.authority_step(f"{step} {kind}", taken.id)
            return taken

    async def rehearse(self, kind: str, step: str, authority_id: str = "") -> Part | None:
        """The one that `take` would take; None for one that it would make. Raises what `take` raises of the order.

        Nothing is waited for, neither keys nor an upstream are asked.
        """
        async with self._one_at_a_time:
            line, now = self.authority.line(kind), self._clock()
            match step:
                case "prepare":
                    line.check_unprepared(now)
                    return None
                case "activate":
                    return line.to_activate(now, authority_id)
                case "taint":
                    return line.to_taint(authority_id)
                case "revoke":
                    self.authority.check_revocable(kind)
                    return line.to_revoke(authority_id)
                case _:
                    raise _no_step(step)

    @property
    def follows(self) -> bool:
        """Whether a server above shares its bundle with us."""
        return self.authority.upstream is not None and self.authority.upstream.shares

    async def hear(
        self, *, roots: tuple[bytes, ...] | None = None, keys: Mapping[str, PublicKey] | None = None
    ) -> None:
        """Publish what the server above publishes now; None: nothing new."""
        async with self._one_at_a_time:
            await self._share(self.authority.shared.heard(self.authority.trust_domain, roots=roots, keys=keys))

    async def adopt(self, key: PublishedKey) -> None:
        """Publish a key of a server below; raises DENIED, EXHAUSTED."""
        async with self._one_at_a_time:
            own = [one.id for line in self.authority.lines for one in line.every()]
            await self._share(self.authority.shared.with_key(key, own, self._clock()))

    async def _share(self, shared: Shared) -> None:
        if shared != self.authority.shared:
            self.authority.shared = shared
            await self.publish()

    def tell_agents(self) -> None:
        """Have every connected agent get new SVIDs, spread over `SPREAD_MS`."""
        self.rotations += 1
        self._bell.ring()

    async def let_others_show(self) -> None:
        """Before the first SVID of a new server: others' agents and proxies are to know who signed it."""
        if self.others.authorities:
            try:
                await self._spread.wait(LEAD_SECONDS)
            except RingfenceError as error:
                log.warning("serving all the same", detail=error.detail, hint=error.hint)

    async def _after(self, step: str) -> None:
        if step == "activate":
            self.tell_agents()
        elif step == "revoke":
            await asyncio.to_thread(self.authority.forget_keys)


def _no_step(step: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"{step!r} is no step of an authority", hint="See --help")
