"""The servers of this trust domain, on disk; each function runs inside one transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, delete, func, select, text, update

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.connect import LIVING
from ringfence.broker.store.schema import servers
from ringfence.broker.store.upsert import upsert

_LOCKED = text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = :living AND objsubid = 2 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server: where it said it listens, and the sequence of the bundle that it shows. Times are Unix seconds."""

    id: str
    name: str
    address: str
    started_at: int
    number: int = 0  # of the advisory lock that it holds while it lives
    shows: int = 0


def enter(connection: Connection, server: Server) -> Server:
    """Store *server*, which starts; with its number, which stays."""
    known = every(connection).get(server.id)
    highest: int = connection.execute(select(func.coalesce(func.max(servers.c.number), 0))).scalar_one()
    entered = replace(server, number=known.number if known is not None else highest + 1)
    row = asdict(entered)
    upsert(connection, servers, {"id": row.pop("id")}, changed=row)
    changes.append(connection, [(ChangeKind.SERVER, server.id)])
    return entered


def every(connection: Connection) -> dict[str, Server]:
    """All of them by id, in the order of their numbers."""
    rows = connection.execute(select(servers).order_by(servers.c.number))
    return {row.id: Server(**row._mapping) for row in rows}  # noqa: SLF001  # SQLAlchemy's public name


def show(connection: Connection, server: str, sequence: int) -> None:
    """Note that its agents and proxies are being sent the bundle *sequence*."""
    connection.execute(update(servers).where(servers.c.id == server).values(shows=sequence))
    changes.append(connection, [(ChangeKind.SERVER, server)])


def living(connection: Connection) -> frozenset[int]:
    """The numbers of those that live: the database gives a lock back when its holder ends, however that ends."""
    return frozenset(connection.execute(_LOCKED, {"living": LIVING}).scalars())


def forget(connection: Connection, server: str) -> bool:
    """Drop it; whether it was there."""
    gone = connection.execute(delete(servers).where(servers.c.id == server)).rowcount
    if gone:
        changes.append(connection, [(ChangeKind.SERVER, server)])
    return gone > 0
