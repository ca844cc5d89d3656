"""Registration entries on disk; each function runs inside one transaction of `Store.run`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, select

from ringfence.broker.entry import API_ORIGIN, Entry
from ringfence.broker.store.changes import ChangeKind, append
from ringfence.broker.store.chunks import chunks
from ringfence.broker.store.entry_row import entry_of, row_of
from ringfence.broker.store.many import execute_many
from ringfence.broker.store.schema import entries
from ringfence.certs.errors import Kind, RingfenceError

_NEW = entries.insert()
CREATED, UPDATED, UNCHANGED = "created", "updated", "unchanged"
CONFIGURED, PRUNED = "configured", "pruned"
Permit = Callable[[Entry], None]  # raises for an entry that is not to be touched


def create(connection: Connection, wanted: Sequence[Entry], now: int) -> list[tuple[Entry, str]]:
    """Store what is new of *wanted*, all or none; raises CONFLICT when one exists with other TTLs or names."""
    known = _by_key(connection, [entry.key for entry in wanted])
    results: list[tuple[Entry, str]] = []
    for entry in wanted:
        held = known.get(entry.key)
        if held is None:
            held = replace(entry, id=entry.id or str(uuid.uuid4()), created_at=now)
            known[entry.key] = held
            results.append((held, CREATED))
        elif held.same_as(entry):
            results.append((held, UNCHANGED))
        else:
            raise RingfenceError(
                Kind.CONFLICT,
                f"{entry.spiffe_id} is registered for these selectors with another TTL, DNS name or hint",
                hint=f"Run `ringfence entry delete {held.id}` first, or repeat what it has",
            )
    fresh = {entry.id: entry for entry in insert(connection, [e for e, action in results if action == CREATED], now)}
    return [(fresh.get(entry.id, entry), action) for entry, action in results]


def insert(connection: Connection, fresh: Sequence[Entry], now: int) -> list[Entry]:
    """Store *fresh*, each with its own revision, and with a new id where it has none."""
    ids = [entry.id or str(uuid.uuid4()) for entry in fresh]
    first = append(connection, [(ChangeKind.ENTRY, entry_id) for entry_id in ids]) - len(ids) + 1
    stored = [
        replace(entry, id=entry_id, created_at=now, revision=first + position)
        for position, (entry, entry_id) in enumerate(zip(fresh, ids, strict=True))
    ]
    if stored:
        execute_many(connection, _NEW, [row_of(entry) for entry in stored])
    return stored


def remove(connection: Connection, ids: Sequence[str], permit: Permit = lambda _: None) -> list[str]:
    """Delete what exists of *ids*; those deleted. Raises what *permit* does for one of them: then none is."""
    gone = []
    for entry in by_id(connection, ids):
        permit(entry)
        gone.append(entry.id)
    for chunk in chunks(gone):
        connection.execute(delete(entries).where(entries.c.id.in_(chunk)))
    append(connection, [(ChangeKind.REMOVED, entry_id) for entry_id in gone])
    return gone


def update(connection: Connection, wanted: Sequence[Entry], permit: Permit = lambda _: None) -> list[tuple[Entry, str]]:
    """Change entries of the API by id, all or none.

    Raises what *permit* does for one as it is; NOT_FOUND; CONFLICT for one of the intent, for one that changed
    meanwhile (a revision that is not 0 and not the present one), and when another entry registers the same.
    """
    held = {entry.id: entry for entry in by_id(connection, [entry.id for entry in wanted])}
    same = _by_key(connection, [entry.key for entry in wanted])
    changed = []
    for entry in wanted:
        known = held.get(entry.id)
        if known is None:
            raise RingfenceError(Kind.NOT_FOUND, f"there is no entry {entry.id}", hint="Run `ringfence entry list`")
        permit(known)
        refuse_intents(known)
        if entry.revision not in {0, known.revision}:
            raise RingfenceError(Kind.CONFLICT, f"entry {entry.id} has changed meanwhile", hint="Look, and try again")
        if (other := same.get(entry.key)) is not None and other.id != entry.id:
            raise RingfenceError(Kind.CONFLICT, f"entry {other.id} registers the same", hint="Delete one of them")
        if not known.same_as(entry):
            changed.append((known, entry))
    stored = _replace(connection, changed)
    return [(stored[e.id], UPDATED) if e.id in stored else (held[e.id], UNCHANGED) for e in wanted]


def apply(
    connection: Connection,
    wanted: Sequence[Entry],
    now: int,
    *,
    prune: bool = False,
    dry_run: bool = False,
    permit: Permit = lambda _: None,
    mine: Callable[[Entry], bool] = lambda _: True,
) -> list[tuple[Entry, str]]:
    """Make the API's entries be as *wanted*: in that order, then (*prune*) what is *mine*, not wanted and goes."""
    keys = [entry.key for entry in wanted]  # each costs a digest
    every_one = {entry.key: entry for entry in every(connection) if entry.origin == API_ORIGIN} if prune else {}
    held = every_one or _by_key(connection, keys)
    fresh: list[Entry] = []
    changed: list[tuple[Entry, Entry]] = []
    results: list[tuple[Entry, str]] = []
    for key, entry in zip(keys, wanted, strict=True):
        known = held.get(key)
        if known is None:
            fresh.append(entry)
            results.append((entry, CREATED))
        elif known.same_as(entry):
            results.append((known, UNCHANGED))
        else:
            permit(known)
            changed.append((known, entry))
            results.append((replace(entry, id=known.id, created_at=known.created_at), UPDATED))
    kept = set(keys)
    gone = [entry for key, entry in every_one.items() if key not in kept and mine(entry)]
    results += [(entry, PRUNED) for entry in gone]
    if dry_run:
        return results
    made = iter(insert(connection, fresh, now))
    stored = _replace(connection, changed)
    remove(connection, [entry.id for entry in gone])
    return [(next(made) if a == CREATED else stored.get(entry.id, entry), a) for entry, a in results]


def remove_ended(connection: Connection, now: int) -> list[str]:
    """Delete the entries whose end has come; their ids."""
    ended = select(entries.c.id).where(entries.c.expires_at > 0, entries.c.expires_at <= now)
    return remove(connection, list(connection.execute(ended).scalars()))


def refuse_intents(entry: Entry) -> None:
    """Raise CONFLICT for an entry that comes from the intent."""
    if entry.origin != API_ORIGIN:
        raise RingfenceError(
            Kind.CONFLICT,
            f"{entry.id} comes from the intent document {entry.origin}",
            hint="Change that document and apply it",
        )


def reconcile(connection: Connection, wanted: Sequence[Entry], now: int) -> list[tuple[Entry, str]]:
    """Make the entries that come from documents be exactly *wanted*: id and creation time of the same ones stay."""
    held = {entry.key: entry for entry in every(connection) if entry.origin != API_ORIGIN}
    results: list[tuple[Entry, str]] = []
    fresh: list[Entry] = []
    changed: list[tuple[Entry, Entry]] = []
    for entry in {entry.key: entry for entry in wanted}.values():
        known = held.pop(entry.key, None)
        if known is None:
            fresh.append(entry)
        elif known.same_as(entry):
            results.append((known, UNCHANGED))
        else:
            changed.append((known, entry))
    results += [(entry, CONFIGURED) for entry in _replace(connection, changed).values()]
    results += [(entry, CREATED) for entry in insert(connection, fresh, now)]
    remove(connection, [entry.id for entry in held.values()])
    return results + [(entry, PRUNED) for entry in held.values()]


def every(connection: Connection) -> list[Entry]:
    """All entries."""
    return [entry_of(row) for row in connection.execute(select(entries))]


def by_id(connection: Connection, ids: Sequence[str]) -> list[Entry]:
    """Those of *ids* that exist."""
    return [
        entry_of(row)
        for chunk in chunks(ids)
        for row in connection.execute(select(entries).where(entries.c.id.in_(chunk)))
    ]


def _by_key(connection: Connection, keys: Sequence[str]) -> dict[str, Entry]:
    return {
        row.key: entry_of(row)
        for chunk in chunks(keys)
        for row in connection.execute(select(entries).where(entries.c.key.in_(chunk)))
    }


def _replace(connection: Connection, changed: Sequence[tuple[Entry, Entry]]) -> dict[str, Entry]:
    """Store the second of each pair in place of the first, each with its own revision; by id."""
    last = append(connection, [(ChangeKind.ENTRY, known.id) for known, _ in changed])
    stored = [
        replace(entry, id=known.id, created_at=known.created_at, revision=last - len(changed) + 1 + i)
        for i, (known, entry) in enumerate(changed)
    ]
    if stored:
        rows = [row_of(entry) | {"which": entry.id} for entry in stored]
        connection.execute(entries.update().where(entries.c.id == bindparam("which")), rows)
    return {entry.id: entry for entry in stored}
