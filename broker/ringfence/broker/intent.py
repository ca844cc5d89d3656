"""The intent in force: applied as one change or not at all, restored at start, and joined to decisions by rule."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from ringfence.broker import events, metrics
from ringfence.broker.entry import Entry, any_node, check_entry
from ringfence.broker.evidence.book import RuleFacts
from ringfence.broker.feed import Feed
from ringfence.broker.intent_documents import changed, judged, refused, written
from ringfence.broker.log import log
from ringfence.broker.registry import Registry
from ringfence.broker.rule_origins import Origins
from ringfence.broker.store import entries as stored_entries
from ringfence.broker.store import intent as stored
from ringfence.broker.store.document import Document
from ringfence.broker.store.engine import Store
from ringfence.broker.store.entries import UNCHANGED
from ringfence.broker.store.intent import Apply, RuleOrigin
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.entries import EntryDraft, entries_of, launch_rules_of
from ringfence.policy.kept import kept
from ringfence.policy.model import Model

if TYPE_CHECKING:
    from ringfence.broker.access.documents import IntentPermit
    from ringfence.policy.findings import Finding
    from ringfence.policy.load import Loaded, LoadedDocument


class Proxies(Protocol):
    """Whoever turns a model into proxies' configuration."""

    async def apply(self, model: Model) -> int:
        """Make *model* the one in force; how many connected proxies get something new."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did or (dry run, errors) would have done; `changes` pairs a document with what became of it."""

    revision: str
    changes: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    proxies: int


class Intent:
    """Holds the model, and for every rule that ever was in force where it was written."""

    def __init__(
        self,
        trust_domain: TrustDomain,
        *,
        store: Store,
        feed: Feed,
        registry: Registry,
        proxies: Proxies,
        clock: Callable[[], datetime],
        federated: Callable[[], Container[TrustDomain]],
    ) -> None:
        self.model: Model | None = None
        self._trust_domain = trust_domain
        self._store = store
        self._feed = feed
        self._registry = registry
        self._proxies = proxies
        self._clock = clock
        self._federated = federated  # other trust domains whose bundles there are
        self._texts: tuple[Document, ...] = ()
        self._documents: tuple[LoadedDocument, ...] = ()
        self._origins = Origins()
        self._seq = 0  # of the apply in force
        self._one_at_a_time = asyncio.Lock()

    @property
    def revision(self) -> str:
        """Content hash of the model in force; empty before the first apply."""
        return self.model.revision if self.model is not None else ""

    @property
    def documents(self) -> tuple[LoadedDocument, ...]:
        """Those in force, by kind and name."""
        return self._documents

    def text(self, document: LoadedDocument) -> str:
        """What a document in force says, comments included."""
        return written(self._texts, document.origin)

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:
        """Where the rule with that meaning was written; None for one that was never applied here."""
        return self._origins.lookup(rule_id, rule_hash)

    async def restore(self) -> None:
        """Put in force what was in force when the server last ran; raises INVALID if this program refuses it."""
        async with self._one_at_a_time:
            await self._follow()

    async def follow(self, _keys: frozenset[str] | None = None) -> None:
        """Put in force what another server has applied since; what this program refuses changes nothing here."""
        async with self._one_at_a_time:
            try:
                await self._follow()
            except RingfenceError as error:
                if error.kind is not Kind.INVALID:
                    raise
                log.error("intent of another server is not in force here", detail=error.detail, where=error.where)

    async def _follow(self) -> None:
        found = await self._store.run(_news, self._seq)
        if found is None:
            return
        self._seq, texts, origins = found
        self._origins.learn(origins.values())
        loaded = await asyncio.to_thread(self._load, texts)
        model = loaded.model
        if model is None:
            self._texts = ()  # whatever is applied next is something else than what was applied last
            raise refused(loaded.findings)
        await self._enforce(model, loaded, texts)

    async def apply(
        self,
        texts: Sequence[Document],
        *,
        author: str = "",
        commit: str = "",
        dry_run: bool = False,
        permit: IntentPermit | None = None,
    ) -> Outcome:
        """Check *texts* as a whole and put them in force; with any error finding nothing changes.

        Raises INVALID for another trust domain, DENIED for what *permit* forbids, and what the store raises.
        """
        given = Apply("", author, commit, int(self._clock().timestamp()))
        while (outcome := await self._apply(texts, given, dry_run=dry_run, permit=permit)) is None:
            await self.follow()  # another server was quicker: what is in force is judged anew
        await self._feed.catch_up()
        return outcome

    async def _apply(
        self, texts: Sequence[Document], given: Apply, *, dry_run: bool, permit: IntentPermit | None
    ) -> Outcome | None:
        """The same as far as our own memory; None, and nothing done, when it is not what is in force any more."""
        async with self._one_at_a_time:
            started = time.perf_counter()
            # 1. All findings at once; one error ends it.
            loaded = await asyncio.to_thread(self._load, texts)
            model = loaded.model
            if model is None:
                return Outcome(self.revision, (), loaded.findings, 0)
            if permit is not None:
                from ringfence.broker.access.documents import Intended  # at start nobody has to be permitted

                permit.check(Intended(self._documents, self.model), Intended(loaded.documents, model))
            changes = tuple(changed(self._documents, loaded.documents))
            if dry_run:
                return Outcome(model.revision, changes, loaded.findings, 0)
            # 2. On disk as one transaction: documents, where rules stand, entries and their revisions.
            if not await self._record(model, tuple(texts), given):
                return None
            # 3. In memory, from there to agents, and to the proxies that it touches.
            proxies = await self._enforce(model, loaded, tuple(texts))
            metrics.APPLY_SECONDS.observe(time.perf_counter() - started)
            touched = sum(action != UNCHANGED for _, action in changes)
            events.applied(model.revision, changed=touched, rules=len(model.rules), proxies=proxies)
            return Outcome(model.revision, changes, loaded.findings, proxies)

    def _load(self, texts: Sequence[Document]) -> Loaded:
        loaded = judged(texts, self._trust_domain, self._clock(), self._federated())
        if loaded.model is None or self.model is None:
            return loaded
        return replace(loaded, model=kept(loaded.model, self.model))

    async def _record(self, model: Model, texts: tuple[Document, ...], given: Apply) -> bool:
        """Whether *texts* are what was applied last, now."""
        if texts == self._texts:
            return await self._store.run(stored.newest) == self._seq
        apply = replace(given, revision=model.revision)
        origins = self._origins.moved(model, apply, before=self.model)
        entries = [self._entry(draft) for draft in entries_of(model)]
        if not await self._store.run(_record, apply, texts, origins, entries, self._seq):
            return False
        self._seq += 1
        self._origins.learn(origins)
        return True

    async def _enforce(self, model: Model, loaded: Loaded, texts: tuple[Document, ...]) -> int:
        self.model, self._documents, self._texts = model, loaded.documents, texts
        self._registry.launch_rules = launch_rules_of(model)
        return await self._proxies.apply(model)

    def _entry(self, draft: EntryDraft) -> Entry:
        entry = Entry(
            id="",
            spiffe_id=draft.spiffe_id,
            parent_id=any_node(self._trust_domain),
            selectors=tuple(sorted(draft.selectors)),
            x509_ttl=int(draft.x509_ttl.total_seconds()),
            jwt_ttl=int(draft.jwt_ttl.total_seconds()),
            dns_names=draft.dns_names,
            origin=draft.origin,
            federates_with=draft.federates_with,
            template=draft.template,
        )
        return check_entry(entry, self._trust_domain)


def _record(
    connection: Connection,
    apply: Apply,
    texts: Sequence[Document],
    origins: Sequence[RuleOrigin],
    entries: Sequence[Entry],
    after: int,
) -> bool:
    if stored.newest(connection) != after:
        return False
    stored_entries.reconcile(connection, entries, apply.applied_at)
    stored.record(connection, apply, texts, origins)
    return True


def _news(
    connection: Connection, seq: int
) -> tuple[int, tuple[Document, ...], dict[tuple[str, str], RuleOrigin]] | None:
    """What was applied after *seq*: the newest sequence and documents, and where the rules since then stand."""
    newest = stored.newest(connection)
    found = stored.last(connection) if newest != seq else None
    return None if found is None else (newest, tuple(found[1]), stored.origins(connection, after=seq))
