"""What is published of a trust domain, by this server and by others, as the store has it: one bundle, many issuers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ringfence.broker import metrics
from ringfence.broker.audit.authority import Keys, keys_of, published
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.bell import Bell
from ringfence.broker.files import write_atomically
from ringfence.broker.others import Others
from ringfence.broker.servers import Servers
from ringfence.broker.spread import Spread
from ringfence.broker.store import authority as stored
from ringfence.broker.store.authority import SERVER, Kept, sequence_of
from ringfence.broker.store.engine import Store
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import issuer_key_id, read_certificate, subject_key_id
from ringfence.certs.slot import X509Authority


@dataclass(frozen=True, slots=True)
class Place:
    """Where the authority of one server is kept, and who hears of it; *pem* is the bundle as a file."""

    store: Store
    bell: Bell
    clock: Callable[[], datetime]
    pem: Path
    audit: AuditLog | None = None
    servers: Servers | None = None

    @property
    def me(self) -> str:
        """The name of this server in the store."""
        return SERVER if self.servers is None else self.servers.me.id


class Published:
    """`bundle` is what may be published now: the authorities of all servers, and none that is not on disk yet.

    *before* is what the store has of our keys; None when it has none of them.
    """

    def __init__(
        self, authority: Authority, sequence: int, place: Place, *, others: Others, before: Keys | None
    ) -> None:
        self.authority = authority
        self.others = others
        self._store = place.store
        self._bell = place.bell
        self._clock = place.clock
        self._pem = place.pem
        self._audit = place.audit
        self._servers = place.servers
        self._me = place.me
        self._published = before
        self._taking = asyncio.Lock()  # from what the store says to what `bundle` is
        self._unpublished = False
        self._spread = Spread(place.servers, sequence)
        self._issuers: tuple[int, frozenset[str]] = (-1, frozenset())
        self._own = authority.bundle(0)  # as published
        self.bundle: SpiffeBundle = self.others.merged(self._me, self._own, sequence)

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

    async def publish(self) -> None:
        """Store our authority as it is now, and show it; raises what the store raises, and then shows nothing new."""
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
        await self.show()
        self._bell.ring()
        if self._servers is not None:
            await self._servers.show(self.bundle.sequence)

    async def show(self) -> None:
        """Bring the file and the metrics in step with `bundle`."""
        await asyncio.to_thread(write_atomically, self._pem, self.bundle.x509_pem(), mode=0o644)
        for line in self.authority.lines:
            metrics.CA_EXPIRY.labels(line.kind).set(line.current.not_after.timestamp())
