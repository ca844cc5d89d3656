"""All that the agent knows of its workloads: entries, SVIDs, bundles; takes in pushes and says who is touched."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent import events
from ringfence.broker.agent.entries import Applied, EntryBook
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.listener import Hooks, Listener
from ringfence.broker.agent.needs import Needs
from ringfence.broker.agent.revoked import Revoked
from ringfence.broker.agent.storage import Kept
from ringfence.broker.agent.svids import HeldSvid, SvidStore, draw_jitter
from ringfence.broker.agent.view import Bundles, View
from ringfence.broker.version import VERSION
from ringfence.certs.bundle import SpiffeBundle, digest_of
from ringfence.certs.certificate import read_certificate, subject_key_id
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


class Cache:
    """One node's knowledge. All of it is used in the event loop only; nothing here waits."""

    def __init__(
        self, bundle: SpiffeBundle, *, clock: Clock = utc_now, draw: Callable[[], float] = draw_jitter
    ) -> None:
        self.book = EntryBook()
        self.svids: SvidStore[HeldSvid] = SvidStore()
        self.revoked = Revoked()
        self.bundles = Bundles(bundle, {}, 1)
        self.synced = False  # whether entries were ever heard of, from the server or from disk
        self.refusal: RingfenceError | None = None  # why the server will not have this node, until it sends entries
        self.needs = Needs()
        self.dirty = asyncio.Event()  # something is to be kept on disk
        self.ends = asyncio.Event()  # some entry may end at another time than before
        self.clock = clock
        self.hooks = Hooks()
        self._draw = draw
        self._bundle_digest = b""
        self._listener: Listener | None = None
        self._ended: set[str] = set()  # identities that lost their last entry

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every change from now on."""
        self._listener = listener

    # What callers get

    def view(self, entries: tuple[Entry, ...]) -> View:
        """What *entries* come to now; asks the server for SVIDs that are not there."""
        now = self.clock()
        held, waits = [], False
        for entry in entries:
            svid = self.svids.use(entry, now)
            if svid is not None:
                held.append((entry, svid))
            elif not self.needs.is_refused(entry.id, now):
                waits = True
                self.needs.add(entry)
        return View(entries, tuple(held), self.bundles.of(entries), waits)

    def matching(self, selectors: frozenset[object]) -> tuple[Entry, ...]:
        """The entries of whoever has *selectors*, without those whose identity was revoked."""
        found = self.book.matching(selectors)  # type: ignore[arg-type]
        now = self.clock().timestamp()
        return tuple(entry for entry in found if not self.withheld(entry, now))

    def revoked_of(self, selectors: frozenset[object]) -> str:
        """The first identity that whoever has *selectors* would have, were it not revoked; empty for none."""
        if not self.revoked.identities:
            return ""
        found = self.book.matching(selectors)  # type: ignore[arg-type]
        return next((str(entry.spiffe_id) for entry in found if self.revoked.is_identity(entry.spiffe_id)), "")

    def withheld(self, entry: Entry, now: float) -> str:
        """Why *entry*, which matches, is not served, at *now* in Unix seconds; empty when it is."""
        if self.revoked.is_identity(entry.spiffe_id):
            reason = self.revoked.identities[str(entry.spiffe_id)]
            return "its identity was revoked" + (f": {reason}" if reason else "")
        if str(entry.spiffe_id) in self._ended:
            return "its identity was withdrawn"
        if entry.has_ended(now):
            return "it has ended"
        return "it is for an SVID store, not for the Workload API" if entry.store_svid else ""

    def changed(self, entry_ids: Iterable[str]) -> None:
        """What is shown of these entries is not what it was: keep it, and tell the streams that show it."""
        self.dirty.set()
        if self._listener:
            self._listener.on_svids(frozenset(entry_ids))

    def watched(self) -> frozenset[str]:
        """The entries that some open stream shows."""
        return self._listener.watched() if self._listener else frozenset()

    # What the server is to be asked

    def take_needs(self) -> tuple[Entry, ...]:
        """All that is to be asked for now: SVIDs that are missing and SVIDs that are due. Each is given out once."""
        now = self.clock()
        needs = self.needs.take()
        for entry_id in self.svids.due(now, self.watched()):
            if (entry := self.book.get(entry_id)) and not self.needs.is_refused(entry_id, now):
                needs[entry_id] = entry
        return tuple(entry for entry in needs.values() if self.book.get(entry.id))

    def put(self, entry: Entry, svid: HeldSvid) -> None:
        """An SVID that the server issued; left out if the entry changed or it was revoked meanwhile."""
        if self.revoked.takes(svid):
            self.needs.add(entry)
            return
        current = self.book.get(entry.id)
        if current is None or entry.is_reissued_by(current):
            if current is not None:
                self.needs.add(current)
            return
        self.needs.issued(entry.id)
        self.svids.put(entry.id, svid, self.clock())
        events.svid_issued(svid.spiffe_id, svid.not_after)
        self.changed(frozenset({entry.id}))

    def refuse(self, entry_id: str, detail: str) -> None:
        """The server will not issue it: say so to whoever waits, and ask again later."""
        self.needs.refuse(entry_id, self.clock())
        events.svid_refused(entry_id, detail)
        self.changed(frozenset({entry_id}))

    # What the server pushes (sink.Sink)

    def hello(self) -> agent_pb2.Hello:
        """What we have already."""
        return agent_pb2.Hello(
            version=VERSION,
            revision=self.book.revision,
            bundle_digest=self._bundle_digest,
            federated_digest=digest_of(self.bundles.federated.values()),
            revoked_digest=self.revoked.digest,
            fabrics=self.hooks.fabrics is not None,
        )

    def on_entries(self, update: agent_pb2.EntriesUpdate) -> None:
        """Entries or launch rules changed."""
        wanted = self.book.wanted
        applied = self._with_instances(self.book.apply(update))
        if update.full:
            self._ended.clear()
        self._ended -= {str(entry.spiffe_id) for entry in applied.upserted}
        self.svids.drop(applied.removed | applied.outdated)
        self.needs.forget((*applied.removed, *applied.outdated, *(entry.id for entry in applied.upserted)))
        self.synced, self.refusal = True, None
        self.dirty.set()
        self.ends.set()
        self.hooks.gone(applied.removed | applied.outdated)
        self.hooks.entries()
        if self._listener:
            self._listener.on_entries(applied, facts_changed=not self.book.wanted <= wanted)
        events.entries(self.book.revision, len(self.book), applied.refused)

    def end_entries(self) -> None:
        """Forget the entries whose end has come, as if the server had said so: it may be away."""
        if ended := self.book.ended(self.clock().timestamp()):
            self.on_entries(agent_pb2.EntriesUpdate(revision=self.book.revision, removed=ended))

    def on_bundle(self, update: agent_pb2.BundleUpdate) -> None:
        """A trust bundle changed."""
        own = SpiffeBundle.parse(self.bundles.own.trust_domain, update.bundle) if update.bundle else self.bundles.own
        federated = {
            TrustDomain(name): SpiffeBundle.parse(TrustDomain(name), text)
            for name, text in sorted(update.federated.items())
        }
        if own.sequence < self.bundles.own.sequence:
            own = self.bundles.own  # of a server that is behind another: an authority of before is not taken away
        elif update.bundle:
            self._bundle_digest = hashlib.sha256(update.bundle).digest()
            self.hooks.bundle(update.bundle)
        if (own, federated) == (self.bundles.own, self.bundles.federated):
            return
        gone = frozenset(self.bundles.own.x509_authorities) - frozenset(own.x509_authorities)
        self.bundles = Bundles(own, federated, self.bundles.version + 1, self.bundles.crls)
        self.dirty.set()
        if gone:  # peers accept no more what these signed, whether or not we were here to be told of the taint
            self._renew(timedelta(0), frozenset(subject_key_id(read_certificate(der)) for der in gone))
        if self._listener:
            self._listener.on_bundles()

    def on_revocations(self, update: agent_pb2.Revocations) -> None:
        """Stop serving these at once: an identity until its entry is made anew, a serial until it is issued again."""
        self._ended |= set(update.spiffe_ids)
        serials = {int.from_bytes(serial, "big") for serial in update.serials}
        hit = {
            entry_id for entry_id, svid in self.svids if svid.serial in serials or str(svid.spiffe_id) in self._ended
        }
        self.svids.drop(hit)
        self.hooks.gone(frozenset(hit))
        if self._listener:
            gone = Applied((), frozenset(hit) | self.book.ids_of(self._ended), frozenset(), ())
            self._listener.on_entries(gone, facts_changed=False)
        self.changed(frozenset(hit))

    def on_revoked(self, update: agent_pb2.RevokedUpdate) -> None:
        """All that an operator revoked: serve nothing of it from this turn of the loop on, nor after a restart."""
        before, self.revoked = self.revoked, Revoked.parse(update.revoked)
        fresh = frozenset(self.revoked.identities.keys() - before.identities.keys())
        lifted = frozenset(before.identities.keys() - self.revoked.identities.keys())
        hit = frozenset(entry_id for entry_id, svid in self.svids if self.revoked.takes(svid))
        self.svids.drop(hit)
        touched = hit | self.book.ids_of(fresh | lifted)
        self.needs.forget(touched)
        self.hooks.gone(touched)
        events.revoked(len(fresh), len(lifted), len(hit))
        if self._listener:
            self._listener.on_revoked(fresh, lifted=bool(lifted))
        if before.crls != self.revoked.crls:
            self.bundles = replace(self.bundles, version=self.bundles.version + 1, crls=self.revoked.crls)
            if self._listener:
                self._listener.on_bundles()
        self.hooks.revoked()
        if fresh:
            self.hooks.callers_revoked()
        self.changed(hit)

    def turned_away(self, why: RingfenceError) -> None:
        """The server will not have this node any more: forget all that it gave us, also on the disk."""
        self.on_entries(agent_pb2.EntriesUpdate(full=True))
        self.svids.drop([entry_id for entry_id, _ in self.svids])
        self.refusal = why

    @property
    def unready(self) -> str:
        """Why nobody is served what the server said; empty when everybody is."""
        if self.refusal is not None:
            return f"the server does not admit this node: {self.refusal}"
        return "" if self.synced else "the server has not sent its entries yet"

    def on_rotate(self, update: agent_pb2.Rotate) -> None:
        """Renew every SVID, or those that the authorities named signed, spread over what the server says."""
        spread, authorities = timedelta(milliseconds=update.spread_ms), frozenset(update.authorities)
        self._renew(spread, authorities)
        self.hooks.rotate(spread, authorities)

    def on_fabrics(self, update: agent_pb2.FabricsUpdate) -> None:
        """The node's fabrics, or their members, are others."""
        if self.hooks.fabrics is not None:
            self.hooks.fabrics(update)

    def _renew(self, spread: timedelta, authorities: frozenset[str]) -> None:
        draw = self._draw
        self.svids.spread(self.clock(), spread, lambda: (draw() + 1) / 2, authorities)
        self.needs.wake.set()

    # What is kept on disk

    def restore(self, kept: Kept) -> None:
        """Take up where the agent left off."""
        self.revoked = Revoked.parse(kept.revoked)
        self.on_entries(kept.entries)
        now = self.clock()
        for entry_id, svid in kept.svids.items():
            if self.book.get(entry_id) and svid.is_valid(now) and not self.revoked.takes(svid):
                self.svids.put(entry_id, svid, now)
        self.bundles = Bundles(
            self.bundles.own,
            {TrustDomain(n): SpiffeBundle.parse(TrustDomain(n), text) for n, text in kept.federated.items()},
            self.bundles.version + 1,
            self.revoked.crls,
        )

    def _with_instances(self, applied: Applied) -> Applied:
        """*applied* with the instances of its rules that are in use, which are to be made anew."""
        held = {*self.watched(), *self.needs.ids(), *(entry_id for entry_id, _ in self.svids)}
        instances = {entry_id for entry_id in held if "#" in entry_id}
        if not instances:
            return applied
        touched = {*applied.removed, *applied.outdated, *(entry.id for entry in applied.upserted)}
        hit = {entry_id for entry_id in instances if entry_id.partition("#")[0] in touched}
        return replace(applied, outdated=applied.outdated | hit)
