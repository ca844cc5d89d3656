"""The node's own identity: from disk or won by a proof, renewed at half of its life, won again if lost."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from datetime import timedelta

from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Clock
from ringfence.broker.agent.config import AgentConfig
from ringfence.broker.agent.dial import Trust
from ringfence.broker.agent.enrol import enrol, read_bundle
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.prove import prover_of
from ringfence.broker.agent.ring import Ring
from ringfence.broker.agent.storage import DataFolder, Identity
from ringfence.broker.agent.svids import HeldSvid, draw_jitter, new_key
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from ringfence.certs.svid import verify_peer

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between tries of the first contact
_RETRY = timedelta(seconds=10)  # after a renewal that failed
_LONGEST_SLEEP = timedelta(seconds=30)  # so that a clock that jumped is noticed


class Node:
    """Who we are to the server. `identity` always holds the newest SVID and the newest bundle."""

    def __init__(self, config: AgentConfig, folder: DataFolder, clock: Clock) -> None:
        self._config = config
        self._folder = folder
        self._clock = clock
        self._prover = prover_of(config)
        self.ring = Ring(config.servers)
        self.joined_anew = False
        self._bundle: SpiffeBundle | None = None
        self._unsaved = False
        self._sooner = asyncio.Event()
        self.turned_away: Callable[[RingfenceError], None] = lambda _: (
            None
        )  # whoever holds what the server gave lets go of it
        self.identity: Identity

    @property
    def trust(self) -> Trust:
        """How the server is known."""
        return Trust(self._config.trust_domain, self.bundle)

    @property
    def bundle(self) -> SpiffeBundle:
        """The newest bundle."""
        if self._bundle is None:
            self._bundle = SpiffeBundle.parse(self._config.trust_domain, self.identity.bundle)
        return self._bundle

    async def join(self) -> None:
        """Be somebody: from disk, else by proof. Raises what says that no waiting will help."""
        kept = await asyncio.to_thread(self._folder.load_identity)
        if kept is not None and self._is_good(kept):
            self.identity = kept
            events.enrolled(kept.svid.spiffe_id, "kept")
            return
        if kept is not None:
            self._check_domain(kept)
        if not self._prover.available:
            raise RingfenceError(
                Kind.UNAUTHENTICATED,
                "this node's SVID has ended, and a join token works once" if kept else "this node has not joined yet",
                where=str(self._config.data_dir),
                hint="Give --join-token: `ringfence token generate` makes one on the server's machine",
            )
        await self._enrol_patiently(await asyncio.to_thread(self._first_trust, kept))

    async def keep_renewed(self, link: Link) -> None:
        """Renew for as long as the agent lives."""
        while True:
            due = self.identity.svid.renew_at - self._clock()
            await self._wait(link, max(min(due, _LONGEST_SLEEP), timedelta(0)))
            if self._clock() < self.identity.svid.renew_at and not self._is_refused(link):
                continue
            try:
                await self._renew(link)
            except (RingfenceError, OSError, TimeoutError) as error:
                events.renewal_failed(error)
                await asyncio.sleep(_RETRY.total_seconds() * (1 + random.random()))  # noqa: S311  # it spreads load
            else:
                await asyncio.sleep(self.identity.svid.rest(self._clock()))

    def note_bundle(self, text: bytes) -> None:
        """A newer bundle; `save` keeps it, since after a restart the server is known by it."""
        self.identity, self._bundle, self._unsaved = Identity(self.identity.svid, text), None, True

    def rotate(self, spread: timedelta) -> None:
        """Renew within *spread*."""
        soon = self._clock() + spread * random.random()  # noqa: S311  # it spreads load
        svid = self.identity.svid.renewed_by(soon)
        self.identity = Identity(svid, self.identity.bundle)
        self._sooner.set()

    async def _wait(self, link: Link, span: timedelta) -> None:
        """For *span*, or until we are refused or told to rotate: what is tainted now may be revoked in a minute."""
        sooner = [asyncio.create_task(event.wait()) for event in (link.refused, self._sooner)]
        try:
            await asyncio.wait(sooner, timeout=span.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in sooner:
                task.cancel()
        self._sooner.clear()

    async def _renew(self, link: Link) -> None:
        if self._is_refused(link):
            await self._come_back(link)
            link.rejoined()
            # Two agents with one certificate put each other out: at a walk, not at a run.
            await asyncio.sleep(_RETRY.total_seconds() * (1 + random.random()))  # noqa: S311  # it spreads load
            return
        key = new_key()
        async with asyncio.timeout(_RETRY.total_seconds()):
            answer = await link.renew(new_csr(key))
        if answer.code:
            raise RingfenceError(Kind.DENIED, f"the server did not renew this node's SVID: {answer.detail}")
        svid = HeldSvid.of(answer.chain, key, self.identity.svid.spiffe_id, draw_jitter())
        self.identity, self._unsaved = Identity(svid, self.identity.bundle), True
        await self.save()
        events.renewed(svid.spiffe_id, svid.not_after)

    async def _come_back(self, link: Link) -> None:
        """Prove ourselves anew. Where the server says no to that, or to one that cannot, nothing is served any more."""
        told = link.denied if link.refused.is_set() else None
        try:
            if not self._prover.available:
                raise self._needs_token(link)
            told = None  # evicted, it may be; whether it may come back is what counts
            await self._enrol(self.trust)
        except RingfenceError as error:
            told = told or error
            if told.kind is Kind.DENIED:
                events.turned_away(told)
                self.turned_away(told)
            raise

    def _is_refused(self, link: Link) -> bool:
        """Whether the server said that it knows us no more, or our SVID has ended."""
        ended = not link.connected.is_set() and not self.identity.svid.is_valid(self._clock())
        return ended or link.refused.is_set()

    def _needs_token(self, link: Link) -> RingfenceError:
        """Why nothing can be done without an operator; the server's own hint where it gave one."""
        said = link.last_failure
        if said is not None and link.refused.is_set():
            return RingfenceError(Kind.UNAUTHENTICATED, "the server does not admit this node", hint=said.hint)
        return RingfenceError(
            Kind.UNAUTHENTICATED,
            "this node's SVID has ended, and a join token works once",
            hint="Start the agent with a new --join-token: `ringfence token generate` makes one",
        )

    def _check_domain(self, kept: Identity) -> None:
        found, wanted = kept.svid.spiffe_id.trust_domain, self._config.trust_domain
        if found != wanted:
            raise RingfenceError(
                Kind.CONFLICT,
                f"this folder belongs to the trust domain {found}",
                where=str(self._config.data_dir),
                hint=f"Give --trust-domain {found}, or another --data-dir for {wanted}",
            )

    def _is_good(self, kept: Identity) -> bool:
        try:
            bundle = SpiffeBundle.parse(self._config.trust_domain, kept.bundle)
            verify_peer(kept.svid.chain, bundle, now=self._clock())
        except RingfenceError:
            return False
        return True

    def _first_trust(self, kept: Identity | None) -> Trust:
        """How the server is known before the first answer. Raises INVALID when nothing was said of it."""
        config = self._config
        if config.bootstrap_bundle is not None:
            return Trust(config.trust_domain, read_bundle(config.bootstrap_bundle, config.trust_domain))
        if kept is not None:
            return Trust(config.trust_domain, SpiffeBundle.parse(config.trust_domain, kept.bundle))
        if config.insecure_bootstrap:
            return Trust(config.trust_domain, None)
        raise RingfenceError(
            Kind.INVALID,
            "nothing says how to know the server",
            hint="Give --bootstrap-bundle FILE (`ringfence bundle show --format pem`), or --insecure-bootstrap",
        )

    async def _enrol_patiently(self, trust: Trust) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._config.attest_patience
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._enrol(trust)
            except RingfenceError as error:
                if error.kind is not Kind.UNAVAILABLE or loop.time() + pause > ends:
                    raise
                events.waiting(error, pause)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE) if self.ring.move_on() else pause

    async def _enrol(self, trust: Trust) -> None:
        identity = await enrol(self.ring.address, trust, self._prover, now=self._clock())
        self.identity, self._bundle, self._unsaved, self.joined_anew = identity, None, True, True
        await self.save()
        if trust.bundle is None:
            events.pinned(hashlib.sha256(self.bundle.x509_der()).hexdigest())
        events.enrolled(identity.svid.spiffe_id, self._prover.name)

    async def save(self) -> None:
        """Put what changed on disk; a failure is told, and costs nothing but the next restart."""
        if not self._unsaved:
            return
        self._unsaved = False
        try:
            await asyncio.to_thread(self._folder.save_identity, self.identity)
        except (OSError, RingfenceError) as error:
            self._unsaved = True
            events.not_kept(error)
