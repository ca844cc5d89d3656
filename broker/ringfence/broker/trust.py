"""The authority of this server in the store: made once, loaded again with the same keys, published, rotated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from ringfence.broker import events, metrics
from ringfence.broker.audit.authority import keys_of, published
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.bell import Bell
from ringfence.broker.files import write_atomically
from ringfence.broker.store import authority as stored
from ringfence.broker.store.engine import Store
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.certificate import read_certificate, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.line import Part
from ringfence.certs.rotation import Step
from ringfence.certs.shared import PublishedKey, Shared
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.upstream import Upstream

SERVER = "self"  # one server a store, for now
LEAD_SECONDS = 1.0  # a pushed bundle is in every connected Envoy well before
_MAX_INTERMEDIATES = 7  # with a leaf before them, what a chain may have
SPREAD_MS = 2_000  # over which agents renew after a rotation, so that they do not ask at once


class Trust:
    """`bundle` is what may be published now; it never holds an authority that is not on disk yet."""

    def __init__(
        self,
        authority: Authority,
        sequence: int,
        *,
        store: Store,
        bell: Bell,
        clock: Callable[[], datetime],
        pem: Path,
        audit: AuditLog | None = None,
    ) -> None:
        self.authority = authority
        self.rotations = 0  # times that agents were told to renew; each stream remembers the last it passed on
        self._store = store
        self._bell = bell
        self._clock = clock
        self._pem = pem
        self._audit = audit
        self._published = keys_of(authority) if sequence else None
        self._one_at_a_time = asyncio.Lock()
        self._unpublished = False
        self._published_at = 0.0  # of the event loop
        self._issuers: tuple[int, frozenset[str]] = (-1, frozenset())
        self.bundle: SpiffeBundle = authority.bundle(sequence)

    @classmethod
    async def load(
        cls,
        trust_domain: TrustDomain,
        keys: KeyManager,
        *,
        store: Store,
        bell: Bell,
        clock: Callable[[], datetime],
        pem: Path,
        ca_ttl: timedelta,
        audit: AuditLog | None = None,
        upstream: Upstream | None = None,
        wit: bool = False,
    ) -> Trust:
        """The authority as it was, or a new one; raises what the store and the key manager raise.

        With *wit* it has keys for WIT-SVIDs; without, those that it had are published no more, and then forgotten.
        """
        found = await store.run(stored.load, SERVER)
        state, sequence = found or ({}, 0)  # no state but a sequence: the keys were lost, the bundle goes on
        if not state:
            authority = await asyncio.to_thread(
                Authority.create, trust_domain, keys, now=clock(), ca_ttl=ca_ttl, upstream=upstream
            )
            await asyncio.to_thread(_want_wit, authority, clock(), wit)
            trust = cls(authority, sequence, store=store, bell=bell, clock=clock, pem=pem, audit=audit)
            trust._published = None  # whatever the sequence, no key of it was
            await trust._publish()
        else:
            authority = await asyncio.to_thread(Authority.from_state, state, keys, upstream=upstream)
            _check_domain(authority.trust_domain, trust_domain, pem.parent)
            authority.ca_ttl = ca_ttl
            trust = cls(authority, sequence, store=store, bell=bell, clock=clock, pem=pem, audit=audit)
            # Off for longer than an authority lives: all that it signed has ended, so nobody has to hear first.
            while clock() >= authority.current.x509.not_after:
                await trust.step()
            if await asyncio.to_thread(_want_wit, authority, clock(), wit):
                await trust._publish()
                await asyncio.to_thread(authority.forget_keys)
            await trust._show()
        return trust

    async def step(self) -> Step:
        """Do what `next_step` says is due; what was done."""
        async with self._one_at_a_time:
            if self._unpublished:
                await self._publish()  # what the last try made must be known before it is used
            now = self._clock()
            due = self.authority.next_step(now)
            match due:
                case Step.WAIT:
                    return due
                case Step.PREPARE:
                    await asyncio.to_thread(self.authority.prepare, now, self.authority.due(due, now))
                case Step.ACTIVATE:
                    self.authority.activate(now, self.authority.due(due, now))
                case Step.PRUNE:
                    await asyncio.to_thread(self.authority.prune, now)
            await self._publish()
            if due is Step.ACTIVATE:
                self.tell_agents()
            events.authority_step(due.value, self.authority.current.x509.subject_key_id)
            return due

    async def replace(self, *, lead_seconds: float = LEAD_SECONDS) -> None:
        """Publish a new authority, give it *lead_seconds* to reach everyone who verifies, then sign with it."""
        async with self._one_at_a_time:
            now = self._clock()
            if missing := self.authority.unprepared(now):
                await asyncio.to_thread(self.authority.prepare, now, missing)
                await self._publish()
                await asyncio.sleep(lead_seconds)
            self.authority.activate(now)
            await self._publish()
            events.authority_step("replace", self.authority.current.x509.subject_key_id)

    async def take(self, kind: str, step: str, authority_id: str = "", *, lead_seconds: float = LEAD_SECONDS) -> Part:
        """One step by hand, on disk and published when this returns; the authority as it is then.

        Raises INVALID, NOT_FOUND, and CONFLICT for a step out of order; then nothing has changed.
        """
        async with self._one_at_a_time:
            if self._unpublished:
                await self._publish()
            line, now = self.authority.line(kind), self._clock()
            taken: Part
            match step:
                case "prepare":
                    taken = await asyncio.to_thread(self.authority.prepare_one, now, kind)
                case "activate":
                    await self._let_spread(lead_seconds)
                    taken = line.activate(now, authority_id)
                case "taint":
                    taken = line.taint(authority_id)
                case "revoke":
                    self.authority.check_revocable(kind)
                    taken = line.revoke(authority_id)
                    self.authority.withdraw(taken)
                case _:
                    raise RingfenceError(Kind.INVALID, f"{step!r} is no step of an authority", hint="See --help")
            await self._publish()
            await self._after(step)
            events.authority_step(f"{step} {kind}", taken.id)
            return taken

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
            await self._publish()

    def tell_agents(self) -> None:
        """Have every connected agent get new SVIDs, spread over `SPREAD_MS`."""
        self.rotations += 1
        self._bell.ring()

    @property
    def issuers(self) -> frozenset[str]:
        """The key ids of all whose X.509-SVIDs are accepted: roots in the bundle, and ours."""
        if self._issuers[0] != self.bundle.sequence:
            roots = {subject_key_id(read_certificate(der)) for der in self.bundle.x509_authorities}
            ours = {one.id for one in self.authority.x509.every()}
            self._issuers = (self.bundle.sequence, frozenset(roots | ours))
        return self._issuers[1]

    @property
    def intermediates(self) -> tuple[bytes, ...]:
        """What leads from SVIDs of ours to the roots of an upstream, the newest first; empty without one."""
        every = (der for one in self.authority.x509.every() for der in one.chain)
        return tuple(dict.fromkeys(every))[:_MAX_INTERMEDIATES]

    async def _publish(self) -> None:
        # On disk first: an authority that a crash could forget must not be trusted by anyone.
        self._unpublished = True
        bundle = self.authority.bundle(self.bundle.sequence + 1)
        state, keys = self.authority.to_state(), keys_of(self.authority)
        await recorded(
            self._store,
            self._audit,
            lambda connection: stored.save(connection, SERVER, state, bundle.sequence),
            lambda _: [published(self._published, keys, bundle.sequence)],
        )
        self._published = keys
        self.bundle = bundle
        self._published_at = asyncio.get_running_loop().time()
        self._unpublished = False
        await self._show()
        self._bell.ring()

    async def _let_spread(self, lead_seconds: float) -> None:
        # Who verifies must know the new authority before it signs; the wait is for an operator quicker than a push.
        left = self._published_at + lead_seconds - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    async def _after(self, step: str) -> None:
        if step == "activate":
            self.tell_agents()
        elif step == "revoke":
            await asyncio.to_thread(self.authority.forget_keys)

    async def _show(self) -> None:
        await asyncio.to_thread(write_atomically, self._pem, self.bundle.x509_pem(), mode=0o644)
        for line in self.authority.lines:
            metrics.CA_EXPIRY.labels(line.kind).set(line.current.not_after.timestamp())


def _want_wit(authority: Authority, now: datetime, wanted: bool) -> bool:  # noqa: FBT001  # run in a thread
    """Have keys for WIT-SVIDs or none, and the code that uses them; whether the keys came or went."""
    if wanted:
        import ringfence.certs.wit_svid  # noqa: F401  # the files of a module are not read in the event loop
    return authority.want_wit(now, wanted=wanted)


def _check_domain(found: TrustDomain, wanted: TrustDomain, folder: Path) -> None:
    if found != wanted:
        raise RingfenceError(
            Kind.CONFLICT,
            f"this folder belongs to the trust domain {found}",
            where=str(folder),
            hint=f"Give --trust-domain {found}, or another --data-dir for {wanted}",
        )
