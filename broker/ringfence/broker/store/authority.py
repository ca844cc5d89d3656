"""The public state of every server's authority: certificates and key names, under one sequence of the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.schema import authority, issuance
from ringfence.broker.store.upsert import upsert

SERVER = "self"  # the one server of a SQLite


@dataclass(frozen=True, slots=True)
class Kept:
    """What one server wrote: `state` as `Authority.to_state` gave it, empty when its keys were lost.

    `until` is 0, or (Unix seconds) when the last SVID of a server that is gone for good ends.
    """

    state: Mapping[str, Any]
    sequence: int
    until: int = 0


def every(connection: Connection) -> dict[str, Kept]:
    """By server, in one order for all of them."""
    rows = connection.execute(select(authority).order_by(authority.c.server))
    return {row.server: Kept(row.state, row.sequence, row.until) for row in rows}


def sequence_of(kept: Mapping[str, Kept]) -> int:
    """That of the bundle which all of them make; 0 before the first."""
    return max((one.sequence for one in kept.values()), default=0)


def save(connection: Connection, server: str, state: Mapping[str, Any]) -> dict[str, Kept]:
    """Store the state with the next sequence (it never goes back: SPIFFE bundle 4.1.1); every server's then."""
    newest = connection.execute(select(func.coalesce(func.max(authority.c.sequence), 0))).scalar_one()
    upsert(connection, authority, {"server": server}, changed={"state": state, "sequence": newest + 1})
    changes.append(connection, [(ChangeKind.AUTHORITY, server)])
    return every(connection)


def adopt(connection: Connection, server: str, holds: Callable[[Mapping[str, Any]], bool]) -> None:
    """Take over what this server wrote while it was the only one, which had no name; told by the keys it *holds*."""
    alone = every(connection).get(SERVER)
    if alone is not None and alone.state and holds(alone.state):
        connection.execute(update(authority).where(authority.c.server == SERVER).values(server=server))


def retire(connection: Connection, server: str, ids: list[str], now: int) -> int:
    """Keep *server*'s authorities, named *ids*, in the bundle until the last SVID that they signed ends; when."""
    last = select(func.max(issuance.c.not_after)).where(issuance.c.authority.in_(ids))
    until = max(connection.execute(last).scalar() or 0, now)
    connection.execute(update(authority).where(authority.c.server == server).values(until=until))
    return until


def drop_retired(connection: Connection, server: str, now: int) -> bool:
    """Let *server* take retired authorities whose last SVID has ended out of the bundle; whether there were any."""
    ended = (authority.c.until > 0) & (authority.c.until < now)
    gone = list(connection.execute(select(authority.c.server).where(ended)).scalars())
    if not gone:
        return False
    newest = connection.execute(select(func.max(authority.c.sequence))).scalar_one()
    connection.execute(update(authority).where(authority.c.server == server).values(sequence=newest + 1))
    connection.execute(delete(authority).where(authority.c.server.in_(gone)))
    changes.append(connection, [(ChangeKind.AUTHORITY, one) for one in gone])
    return True
