"""The WIT-SVIDs that the agent holds: keys made here, tokens from the server, renewed at half of their life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.issuing import PATIENCE, PAUSE, TRANSIENT, until_due
from ringfence.broker.agent.svids import SvidStore, draw_jitter, new_key
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import new_csr
from ringfence.certs.rotation import renew_at
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.wit_svid import confirmation, validate_wit

_REFUSED_FOR = timedelta(seconds=30)  # before what the server refused is asked for again
_UNIMPLEMENTED = 12  # the gRPC code of a server that issues none


class Server(Protocol):
    """Who issues them: the link."""

    connected: asyncio.Event

    async def request_wit(self, entry_id: str, csr: bytes) -> agent_pb2.WitResponse:
        """One WIT-SVID; raises UNAVAILABLE when the server can't be asked."""
        ...


@dataclass(frozen=True, slots=True)
class HeldWit:
    """A WIT-SVID with its key (a private JWK as JSON, never shown), and when to renew it."""

    spiffe_id: SpiffeId
    token: str = field(repr=False)
    key: str = field(repr=False)
    authority: str  # the kid of whoever signed it
    not_after: datetime
    renew_at: datetime

    @classmethod
    def of(
        cls, token: str, key: ec.EllipticCurvePrivateKey, entry: Entry, bundle: SpiffeBundle, now: datetime
    ) -> HeldWit:
        """What the server issued, once it is what was asked for; raises UNAUTHENTICATED when it is not."""
        wit = validate_wit(token, {bundle.trust_domain: bundle}, now=now)
        if wit.spiffe_id != entry.spiffe_id:
            raise RingfenceError(
                Kind.UNAUTHENTICATED, f"the server issued {wit.spiffe_id} when asked for {entry.spiffe_id}"
            )
        if wit.key != key.public_key():
            raise RingfenceError(Kind.UNAUTHENTICATED, f"the server issued {wit.spiffe_id} for another key")
        # Half of what is left, not of its whole life: one that comes late is not asked for again at once.
        due = renew_at(now, wit.expires_at, draw_jitter())
        return cls(wit.spiffe_id, token, private_jwk(key), wit.kid, wit.expires_at, due)

    def is_valid(self, now: datetime) -> bool:
        """Whether peers accept it now."""
        return now < self.not_after

    def renewed_by(self, when: datetime) -> HeldWit:
        """The same, to be renewed no later than *when*."""
        return replace(self, renew_at=min(self.renew_at, when))

    def dump(self) -> dict[str, Any]:
        """For the 0600 file that lets a restarted agent serve at once; it holds the key."""
        return {
            "spiffe_id": str(self.spiffe_id),
            "token": self.token,
            "key": self.key,
            "authority": self.authority,
            "not_after": self.not_after.timestamp(),
            "renew_at": self.renew_at.timestamp(),
        }

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> HeldWit:
        """From that file; raises KeyError, TypeError, ValueError or INVALID when it was damaged."""
        ends, due = (datetime.fromtimestamp(kept[name], UTC) for name in ("not_after", "renew_at"))
        token, key, authority = (str(kept[name]) for name in ("token", "key", "authority"))
        return cls(SpiffeId.parse(kept["spiffe_id"]), token, key, authority, ends, due)


def private_jwk(key: ec.EllipticCurvePrivateKey) -> str:
    """The key with its algorithm, as `WITSVID.wit_svid_key` has it (SPIFFE_Workload_API.md section 7.2.1)."""
    return json.dumps({**confirmation(key.public_key()), "d": ECKey.import_key(key).as_dict(private=True)["d"]})


class Wits:
    """One node's WIT-SVIDs, by entry. All of it is used in the event loop only."""

    def __init__(self, cache: Cache, server: Server) -> None:
        self._cache = cache
        self._server = server
        self._store: SvidStore[HeldWit] = SvidStore()
        self._needs: dict[str, Entry] = {}
        self._asked: set[str] = set()
        self._refused: dict[str, datetime] = {}
        self._off_until: datetime | None = None
        self._wake = asyncio.Event()
        self._at_once = asyncio.Semaphore(64)  # questions to the server

    def attach(self) -> None:
        """Hear of entries that go or change, and of rotations, as everyone does who hears of them already."""
        hooks = self._cache.hooks
        gone, rotate = hooks.gone, hooks.rotate

        def both_gone(entry_ids: frozenset[str]) -> None:
            gone(entry_ids)
            self.forget(entry_ids)

        def both_rotate(spread: timedelta, authorities: frozenset[str]) -> None:
            rotate(spread, authorities)
            self._store.spread(self._cache.clock(), spread, lambda: (draw_jitter() + 1) / 2, authorities)
            self._wake.set()

        hooks.gone, hooks.rotate = both_gone, both_rotate

    @property
    def are_off(self) -> bool:
        """Whether the server said, just now, that it issues none."""
        return self._off_until is not None and self._cache.clock() < self._off_until

    def of(self, entries: Iterable[Entry]) -> tuple[tuple[tuple[Entry, HeldWit], ...], bool]:
        """What is held for *entries*, and whether more is to come: the server is asked for what is not there."""
        now, known = self._cache.clock(), self._cache.bundles.own.wit_authorities
        held, waits = [], False
        for entry in entries:
            wit = self._store.use(entry, now)
            # One whose authority is in the bundle no more is refused by everyone.
            if wit is not None and wit.authority in known:
                held.append((entry, wit))
            elif self._refused.get(entry.id, now) <= now:
                waits = True
                self._need(entry)
        return tuple(held), waits

    def forget(self, entry_ids: Iterable[str]) -> None:
        """Drop those of entries that are gone or changed, and of the instances of such rules."""
        gone = frozenset(entry_ids)
        instances = {entry_id for entry_id, _ in self._store if entry_id.partition("#")[0] in gone}
        self._store.drop(gone | instances)
        for entry_id in gone | instances:
            self._needs.pop(entry_id, None)
            self._refused.pop(entry_id, None)

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take up what an earlier run kept; what can't be read is fetched again."""
        now = self._cache.clock()
        for entry_id, document in kept.items():
            try:
                wit = HeldWit.load(document)
            except (KeyError, TypeError, ValueError, OverflowError, RingfenceError) as error:
                events.not_kept(error)
                continue
            revoked = self._cache.revoked.is_identity(wit.spiffe_id)
            if self._cache.book.get(entry_id) and wit.is_valid(now) and not revoked:
                self._store.put(entry_id, wit, now)

    def dump(self) -> dict[str, Any]:
        """What to keep on disk."""
        return {entry_id: wit.dump() for entry_id, wit in self._store}

    async def run(self) -> None:
        """Ask for what is needed and what is due, for as long as the agent lives."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._server.connected.wait()
                self._wake.clear()
                for entry in self._take():
                    tasks.create_task(self._ask(entry))
                await until_due(self._store, self._cache.clock(), self._wake)

    def _need(self, entry: Entry) -> None:
        if entry.id not in self._asked and entry.id not in self._needs:
            self._needs[entry.id] = entry
            self._wake.set()

    def _take(self) -> list[Entry]:
        book, now = self._cache.book, self._cache.clock()
        wanted = {*self._needs, *self._store.due(now, self._cache.watched())} - self._asked
        self._needs.clear()
        found = [entry for entry in map(book.get, sorted(wanted)) if entry is not None]
        self._asked.update(entry.id for entry in found)
        return found

    async def _ask(self, entry: Entry) -> None:
        key = new_key()
        answer: agent_pb2.WitResponse | None = None
        try:
            async with self._at_once, asyncio.timeout(PATIENCE):
                answer = await self._server.request_wit(entry.id, new_csr(key))
        except (RingfenceError, TimeoutError):
            pass
        if answer is None or answer.code in TRANSIENT:
            asyncio.get_running_loop().call_later(PAUSE * (1 + abs(draw_jitter())), self._again, entry)
            return
        self._asked.discard(entry.id)
        if answer.code:
            self._refuse(entry, answer.code, answer.detail)
        else:
            self._put(entry, key, answer.token)
        self._wake.set()

    def _again(self, entry: Entry) -> None:
        self._asked.discard(entry.id)
        self._need(entry)

    def _put(self, entry: Entry, key: ec.EllipticCurvePrivateKey, token: str) -> None:
        current, now = self._cache.book.get(entry.id), self._cache.clock()
        # Not for an entry that went, nor for what was revoked meanwhile: a revocation that is lifted brings a new one.
        if current is None or self._cache.revoked.is_identity(entry.spiffe_id):
            return
        if entry.is_reissued_by(current):
            self._need(current)
            return
        try:
            wit = HeldWit.of(token, key, entry, self._cache.bundles.own, now)
        except RingfenceError as error:
            self._refuse(entry, 0, error.detail)
            return
        self._refused.pop(entry.id, None)
        self._store.put(entry.id, wit, now)
        events.svid_issued(wit.spiffe_id, wit.not_after)
        self._cache.changed({entry.id})

    def _refuse(self, entry: Entry, code: int, detail: str) -> None:
        until = self._refused[entry.id] = self._cache.clock() + _REFUSED_FOR
        if code == _UNIMPLEMENTED:
            self._off_until = until
        events.svid_refused(entry.id, detail)
        self._cache.changed({entry.id})
