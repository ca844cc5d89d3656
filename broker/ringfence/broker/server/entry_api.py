"""The admin API's part for registration entries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access.present import present
from ringfence.broker.access.registrations import EntryPermit
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.entry import Entry, selectors_of
from ringfence.broker.entry_message import entry_message, entry_of
from ringfence.broker.feed import Feed
from ringfence.broker.registry import Registry
from ringfence.broker.store import entries as stored
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.lane import Call

_ENTRIES_A_CALL = 10_000
_ENTRIES_A_FILE = 200_000
_RESULTS_A_MESSAGE = 2_000
_CHECKED_AT_ONCE = 500  # about 10 ms between two breaths of the event loop

T = TypeVar("T")
Results = Sequence[tuple[Entry, str]]


@dataclass(frozen=True, slots=True)
class EntryApi:
    """What the admin socket answers about entries."""

    store: Store
    feed: Feed
    registry: Registry
    trust_domain: TrustDomain
    clock: Callable[[], datetime]

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """One answer a question, by name."""
        return {
            "CreateEntries": self.create,
            "ListEntries": self.list_,
            "CountEntries": self.count,
            "UpdateEntries": self.update,
            "DeleteEntries": self.delete,
        }

    async def create(self, asked: pb.CreateEntriesRequest) -> pb.CreateEntriesResponse:
        """Entries, all or none; the same ones again change nothing."""
        permit = EntryPermit.of(present())
        wanted = await self._wanted(asked.entries, permit)
        results = await self._change(asked.dry_run, stored.create, wanted, self._now())
        if asked.dry_run:
            results = _unmade(results)
        return pb.CreateEntriesResponse(results=map(_result, results))

    async def update(self, asked: pb.UpdateEntriesRequest) -> pb.UpdateEntriesResponse:
        """Change entries by id, all or none."""
        permit = EntryPermit.of(present())
        wanted = await self._wanted(asked.entries, permit, keep=True)
        results = await self._change(asked.dry_run, stored.update, wanted, permit.check)
        return pb.UpdateEntriesResponse(results=map(_result, results))

    async def apply(self, call: Call) -> None:
        """Take in a file of entries, apply it as one transaction at its end, and say what became of each."""
        said: list[pb.Entry] = []
        first: pb.ApplyEntriesRequest | None = None
        while (piece := await call.receive()) is not None:
            first = first or piece
            said += piece.entries
            if len(said) > _ENTRIES_A_FILE:
                raise RingfenceError(Kind.INVALID, f"at most {_ENTRIES_A_FILE} entries a file")
        if first is None:
            raise RingfenceError(Kind.INVALID, "the call had no request")
        permit = EntryPermit.of(present())
        wanted = await self._wanted(said, permit, most=_ENTRIES_A_FILE)
        results = await self.store.run(
            stored.apply,
            wanted,
            self._now(),
            prune=first.prune,
            dry_run=first.dry_run,
            permit=permit.check,
            mine=permit.owns,
        )
        await self.feed.catch_up()
        for start in range(0, max(len(results), 1), _RESULTS_A_MESSAGE):
            piece = results[start : start + _RESULTS_A_MESSAGE]
            await call.send(pb.ApplyEntriesResponse(results=map(_result, piece)))

    async def list_(self, asked: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
        """Entries, oldest first; raises NOT_FOUND for an id that names none."""
        found = sorted(self._found(asked), key=lambda entry: (entry.created_at, entry.revision))
        return pb.ListEntriesResponse(entries=map(entry_message, found))

    async def count(self, asked: pb.ListEntriesRequest) -> pb.CountEntriesResponse:
        """How many those are."""
        return pb.CountEntriesResponse(count=sum(1 for _ in self._found(asked)))

    async def delete(self, asked: pb.DeleteEntriesRequest) -> pb.DeleteEntriesResponse:
        """Delete entries; those that come from intent are deleted there. Raises CONFLICT for them."""
        permit = EntryPermit.of(present())
        for entry_id in asked.ids:
            if (entry := self.registry.get(entry_id)) is not None:
                permit.check(entry)
                stored.refuse_intents(entry)
        deleted = await self._change(asked.dry_run, stored.remove, list(asked.ids), permit.check)
        return pb.DeleteEntriesResponse(deleted=deleted)

    async def prune_ended(self, audit: AuditLog | None = None) -> None:
        """Delete what grants nothing any more, recorded in *audit*."""
        now = self._now()
        await recorded(
            self.store,
            audit,
            lambda connection: stored.remove_ended(connection, now),
            lambda ids: [Event("entry.expire", _named(ids), detail={"ids": ids})] if ids else [],
        )
        await self.feed.catch_up()

    async def _change(self, dry_run: bool, work: Callable[..., T], *args: Any) -> T:  # noqa: FBT001  # as it was asked
        """What *work* returns: done and known everywhere, or (*dry_run*) only tried."""
        if dry_run:
            return await self.store.rehearse(work, *args)
        done = await self.store.run(work, *args)
        await self.feed.catch_up()
        return done

    async def _wanted(
        self, said: Sequence[Any], permit: EntryPermit, *, keep: bool = False, most: int = _ENTRIES_A_CALL
    ) -> list[Entry]:
        """What was asked for, checked and permitted; with its ids and revisions if these are to be kept."""
        if len(said) > most:
            raise RingfenceError(Kind.INVALID, f"at most {most} entries a call")
        wanted = []
        now = self._now()
        for position, message in enumerate(said):
            entry = entry_of(message, self.trust_domain, keep=keep)
            permit.check(entry)
            if entry.has_ended(now):
                raise RingfenceError(Kind.INVALID, f"{entry.name} would have ended already", hint="Name a later end")
            wanted.append(entry)
            if position % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
        return wanted

    def _found(self, asked: pb.ListEntriesRequest) -> Iterator[Entry]:
        permit = EntryPermit.of(present())
        known = self._named(asked.ids, permit) if asked.ids else filter(permit.sees, self.registry.every())
        return filter(_filter(asked), known)

    def _named(self, ids: Iterable[str], permit: EntryPermit) -> Iterator[Entry]:
        for entry_id in ids:
            entry = self.registry.get(entry_id)
            if entry is None or not permit.sees(entry):
                raise RingfenceError(Kind.NOT_FOUND, f"there is no entry {entry_id}", hint="Run `ringfence entry list`")
            yield entry

    def _now(self) -> int:
        return int(self.clock().timestamp())


def _filter(asked: pb.ListEntriesRequest) -> Callable[[Entry], bool]:
    selectors: frozenset[Selector] = frozenset(selectors_of(asked.selectors))
    federates = TrustDomain(asked.federates_with) if asked.federates_with else None

    def matches(entry: Entry) -> bool:
        return (
            asked.spiffe_id in {"", entry.name}
            and asked.parent_id in {"", str(entry.parent_id)}
            and asked.origin in {"", entry.origin}
            and asked.hint in {"", entry.hint}
            and selectors <= set(entry.selectors)
            and (federates is None or federates in entry.federates_with)
            and (not asked.expires_before or entry.has_ended(asked.expires_before - 1))
        )

    return matches


def _named(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{len(ids)} ids"


def _unmade(results: Results) -> list[tuple[Entry, str]]:
    """As of a dry run: what it would make has no id, revision or time of creation yet."""
    return [
        (replace(entry, id="", revision=0, created_at=0) if action == stored.CREATED else entry, action)
        for entry, action in results
    ]


def _result(result: tuple[Entry, str]) -> pb.EntryResult:
    entry, action = result
    return pb.EntryResult(entry=entry_message(entry), action=action)
