"""The authority of one server in the store: made once, loaded again with the same keys, published, rotated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ringfence.broker import events, metrics
from ringfence.broker.audit.authority import keys_of, published
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.bell import Bell
from ringfence.broker.files import write_atomically
from ringfence.broker.log import log
from ringfence.broker.others import Others
from ringfence.broker.servers import Servers
from ringfence.broker.spread import LEAD_SECONDS, Spread
from ringfence.broker.store import authority as stored
from ringfence.broker.store.authority import SERVER, Kept, sequence_of
from ringfence.broker.store.engine import Store
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import PublicKey, SpiffeBundle
from ringfence.certs.certificate import issuer_key_id, read_certificate, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.line import Part
from ringfence.certs.rotation import Step
from ringfence.certs.shared import PublishedKey, Shared
from ringfence.certs.slot import X509Authority
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.upstream import Upstream

SPREAD_MS = 2_000  # over which agents renew after a rotation, so that they do not ask at once


class Trust:
    """`bundle` is what may be published now: the authorities of all servers, and none that is not on disk yet."""

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
        servers: Servers | None = None,
        others: Others | None = None,
    ) -> None:
        self.authority = authority
        self.others = others or Others()
        self.rotations = 0  # times that agents were told to renew; each stream remembers the last it passed on
        self._store = store
        self._bell = bell
        self._clock = clock
        self._pem = pem
        self._audit = audit
        self._servers = servers
        self._me = SERVER if servers is None else servers.me.id
        self._published = keys_of(authority) if sequence else None
        self._one_at_a_time = asyncio.Lock()
        self._taking = asyncio.Lock()  # from what the store says to what `bundle` is
        self._unpublished = False
        self._spread = Spread(servers, sequence)
        self._issuers: tuple[int, frozenset[str]] = (-1, frozenset())
        self._own = authority.bundle(0)  # as published
        self.bundle: SpiffeBundle = self.others.merged(self._me, self._own, sequence)

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
        servers: Servers | None = None,
        keys_last: bool = True,
    ) -> Trust:
        """The authority as it was, or a new one; raises what the store and the key manager raise.

        With *wit* it has keys for WIT-SVIDs; without, those that it had are published no more, and then forgotten.
        Without *keys_last* the keys ended with the process before: the authority is new, and that is said.
        """
        kept = await store.run(stored.every)
        me = SERVER if servers is None else servers.me.id
        own, sequence = kept.get(me, Kept({}, 0)), sequence_of(kept)
        _check_in_service(own, pem.parent)
        if own.state and not keys_last:
            _check_domain(TrustDomain(own.state["trust_domain"]), trust_domain, pem.parent)
            log.warning("the keys of the last run ended with it: what it signed is believed by nobody any more")
            own = replace(own, state={})
        parts: dict[str, Any] = {"store": store, "bell": bell, "clock": clock, "pem": pem, "audit": audit}
        others = await asyncio.to_thread(Others.of, kept, me)
        if not own.state:  # with a sequence: the keys were lost, the bundle goes on
            authority = await asyncio.to_thread(
                Authority.create, trust_domain, keys, now=clock(), ca_ttl=ca_ttl, upstream=upstream
            )
            await asyncio.to_thread(_want_wit, authority, clock(), wit)
            trust = cls(authority, sequence, **parts, servers=servers, others=others)
            trust._published = None  # whatever the sequence, no key of it was
            await trust._publish()
            await trust._let_others_show()
        else:
            authority = await asyncio.to_thread(Authority.from_state, own.state, keys, upstream=upstream)
            _check_domain(authority.trust_domain, trust_domain, pem.parent)
            authority.ca_ttl = ca_ttl
            trust = cls(authority, sequence, **parts, servers=servers, others=others)
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
                    self._unpublished = True  # one kind may be made and the other fail
                    await asyncio.to_thread(self.authority.prepare, now, self.authority.due(due, now))
                case Step.ACTIVATE:
                    # When it ends, it is too late to wait for servers that do not follow.
                    if now < self.authority.current.x509.not_after and not await self._spread.is_done():
                        return Step.WAIT
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
                self._unpublished = True
                await asyncio.to_thread(self.authority.prepare, now, missing)
                await self._publish()
            await self._spread.wait(lead_seconds)
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
            await self._publish()
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
            await self._publish()

    def tell_agents(self) -> None:
        """Have every connected agent get new SVIDs, spread over `SPREAD_MS`."""
        self.rotations += 1
        self._bell.ring()

    @property
    def issuers(self) -> frozenset[str]:
        """The key ids of all whose X.509-SVIDs are accepted: roots in the bundle, and those of every server."""
        if self._issuers[0] != self.bundle.sequence:
            roots = {subject_key_id(read_certificate(der)) for der in self.bundle.x509_authorities}
            every = {one.id for one in self._x509()}
            self._issuers = (self.bundle.sequence, frozenset(roots | every))
        return self._issuers[1]

    @property
    def tainted(self) -> frozenset[str]:
        """The ids of all authorities of all servers whose SVIDs are to be renewed."""
        return self.authority.tainted | self.others.tainted

    def path_of(self, leaf: bytes) -> list[bytes]:
        """*leaf* (DER) and what leads from the server that signed it to the roots of its upstream."""
        issuer = issuer_key_id(read_certificate(leaf))
        return [leaf, *next((one.chain for one in self._x509() if one.id == issuer), ())]

    async def follow(self, _keys: frozenset[str] | None = None) -> None:
        """Publish what other servers have published."""
        async with self._taking:
            kept = await self._store.run(stored.every)
            if sequence_of(kept) > self.bundle.sequence:
                await self._take(kept)

    async def drop_retired(self) -> None:
        """Take what is left of forgotten servers out of the bundle when the last SVID that they signed has ended."""
        if not self.others.authorities:
            return
        now = int(self._clock().timestamp())
        if await self._store.run(stored.drop_retired, self._me, now):
            await self.follow()

    def _x509(self) -> Iterator[X509Authority]:
        yield from self.authority.x509.every()
        yield from self.others.x509

    async def _publish(self) -> None:
        # On disk first: an authority that a crash could forget must not be trusted by anyone.
        self._unpublished = True
        own, state, keys = self.authority.bundle(0), self.authority.to_state(), keys_of(self.authority)
        async with self._taking:
            kept = await recorded(
                self._store,
                self._audit,
                lambda connection: stored.save(connection, self._me, state),
                lambda kept: [published(self._published, keys, sequence_of(kept))],
            )
            self._published, self._own = keys, own
            self._spread.begin(sequence_of(kept))
            self._unpublished = False
            await self._take(kept)

    async def _take(self, kept: Mapping[str, Kept]) -> None:
        self.others = await asyncio.to_thread(Others.of, kept, self._me)
        self.bundle = self.others.merged(self._me, self._own, sequence_of(kept))
        await self._show()
        self._bell.ring()
        if self._servers is not None:
            await self._servers.show(self.bundle.sequence)

    async def _let_others_show(self) -> None:
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

    async def _show(self) -> None:
        await asyncio.to_thread(write_atomically, self._pem, self.bundle.x509_pem(), mode=0o644)
        for line in self.authority.lines:
            metrics.CA_EXPIRY.labels(line.kind).set(line.current.not_after.timestamp())


def _no_step(step: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"{step!r} is no step of an authority", hint="See --help")


def _want_wit(authority: Authority, now: datetime, wanted: bool) -> bool:  # noqa: FBT001  # run in a thread
    """Have keys for WIT-SVIDs or none, and the code that uses them; whether the keys came or went."""
    if wanted:
        import ringfence.certs.wit_svid  # noqa: F401  # the files of a module are not read in the event loop
    return authority.want_wit(now, wanted=wanted)


def _check_in_service(own: Kept, folder: Path) -> None:
    if own.until:
        raise RingfenceError(
            Kind.CONFLICT,
            "this server was forgotten by an operator",
            where=str(folder),
            hint="Start it with a new --data-dir: it is another server then",
        )


def _check_domain(found: TrustDomain, wanted: TrustDomain, folder: Path) -> None:
    if found != wanted:
        raise RingfenceError(
            Kind.CONFLICT,
            f"this folder belongs to the trust domain {found}",
            where=str(folder),
            hint=f"Give --trust-domain {found}, or another --data-dir for {wanted}",
        )
