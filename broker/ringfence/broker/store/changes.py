"""The change feed: one gap-free revision a change, in commit order, which every server's memory follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Connection, delete, func, select, update

from ringfence.broker.store.schema import changes, feed

KEPT = 10_000  # a follower further behind than this loads everything again


class ChangeKind(Enum):
    """What a change is about; its key is the entry's id, the revision of the intent, or (REVOKED) empty."""

    ENTRY = "entry"
    REMOVED = "removed"
    INTENT = "intent"
    REVOKED = "revoked"  # what is revoked, or a list of it


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the feed."""

    revision: int
    kind: ChangeKind
    key: str


def append(connection: Connection, steps: Sequence[tuple[ChangeKind, str]]) -> int:
    """Give each of *steps* the next revision, in this transaction; the last one given out (or the current one)."""
    statement = update(feed).values(revision=feed.c.revision + len(steps)).returning(feed.c.revision)
    last: int = connection.execute(statement).scalar_one()
    if steps:
        first = last - len(steps) + 1
        rows = [{"revision": first + i, "kind": kind.value, "key": key} for i, (kind, key) in enumerate(steps)]
        connection.execute(changes.insert(), rows)
        connection.execute(delete(changes).where(changes.c.revision <= last - KEPT))
    return last


def current(connection: Connection) -> int:
    """The last revision given out."""
    revision: int = connection.execute(select(feed.c.revision)).scalar_one()
    return revision


def since(connection: Connection, revision: int) -> tuple[Change, ...] | None:
    """Every change after *revision*, in order; None when the oldest of them is no longer kept."""
    oldest = connection.execute(select(func.min(changes.c.revision))).scalar()
    if current(connection) > revision and (oldest is None or oldest > revision + 1):
        return None
    rows = connection.execute(select(changes).where(changes.c.revision > revision).order_by(changes.c.revision))
    return tuple(Change(row.revision, ChangeKind(row.kind), row.key) for row in rows)
