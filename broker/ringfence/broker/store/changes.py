"""The change feed: one gap-free revision a change, in commit order, which every server's memory follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Connection, delete, func, select, update

from ringfence.broker.store.many import execute_many
from ringfence.broker.store.schema import changes, feed

KEPT = 10_000  # a follower further behind than this loads everything again
_CHANGED = changes.insert()
CHANNEL = "ringfence"  # of LISTEN and NOTIFY; what is sent is the last revision


class ChangeKind(Enum):
    """What a change is about, and what its key is."""

    ENTRY = "entry"  # id
    REMOVED = "removed"  # an entry's id
    INTENT = "intent"  # revision
    REVOKED = "revoked"  # what is revoked, or a list of it; empty
    NODE = "node"  # SPIFFE ID of an agent
    ENDPOINTS = "endpoints"  # the proxy that said them
    FEDERATION = "federation"  # trust domain
    AUTHORITY = "authority"  # server
    SERVER = "server"  # id
    FABRIC_CLAIM = "fabric-claim"  # SPIFFE ID of an agent


_KINDS = {kind.value: kind for kind in ChangeKind}  # found without a call a row

# What agents hold by revision. Other changes leave that revision alone, so that no agent is sent what it has.
OF_REGISTRY = frozenset({ChangeKind.ENTRY, ChangeKind.REMOVED, ChangeKind.INTENT})


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the feed."""

    revision: int
    kind: ChangeKind
    key: str


def append(connection: Connection, steps: Sequence[tuple[ChangeKind, str]]) -> int:
    """Give each of *steps* the next revision, in this transaction; the last one given out (or the current one)."""
    new = {"revision": feed.c.revision + len(steps)}
    if of_registry := [position for position, (kind, _) in enumerate(steps, 1) if kind in OF_REGISTRY]:
        new["registry"] = feed.c.revision + of_registry[-1]
    last: int = connection.execute(update(feed).values(new).returning(feed.c.revision)).scalar_one()
    if steps:
        first = last - len(steps) + 1
        rows = [{"revision": first + i, "kind": kind.value, "key": key} for i, (kind, key) in enumerate(steps)]
        execute_many(connection, _CHANGED, rows)
        connection.execute(delete(changes).where(changes.c.revision <= last - KEPT))
        _notify(connection, last)
    return last


def current(connection: Connection) -> int:
    """The last revision given out."""
    revision: int = connection.execute(select(feed.c.revision)).scalar_one()
    return revision


def of_registry(connection: Connection) -> int:
    """The last revision that changed what agents hold by revision."""
    revision: int = connection.execute(select(feed.c.registry)).scalar_one()
    return revision


def since(connection: Connection, revision: int) -> tuple[Change, ...] | None:
    """Every change after *revision*, in order; None when the oldest of them is no longer kept."""
    oldest = connection.execute(select(func.min(changes.c.revision))).scalar()
    if current(connection) > revision and (oldest is None or oldest > revision + 1):
        return None
    rows = connection.execute(select(changes).where(changes.c.revision > revision).order_by(changes.c.revision))
    return tuple(Change(revision, _KINDS[kind], key) for revision, kind, key in rows)


def _notify(connection: Connection, last: int) -> None:
    # Delivered with the commit or never. A SQLite has one server, which follows what it wrote without being told.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, str(last))))
