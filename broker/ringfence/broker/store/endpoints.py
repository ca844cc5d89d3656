"""Where workloads can be reached, kept so that a restarted server does not empty every proxy's endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.chunks import chunks
from ringfence.broker.store.schema import endpoints


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One address of one port of one workload, the proxy that said so, where that runs, and the server it told."""

    key: str  # namespace/name
    port: str
    host: str
    number: int
    node: str
    server: str = ""
    region: str = ""
    zone: str = ""


def every(connection: Connection, only: Iterable[str] | None = None) -> list[EndpointRow]:
    """All of them, or what the proxies *only* said."""
    query = select(endpoints).order_by(endpoints.c.node)
    if only is None:
        return [EndpointRow(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001  # public
    return [
        EndpointRow(**row._mapping)  # noqa: SLF001  # SQLAlchemy's public name
        for chunk in chunks(sorted(only))
        for row in connection.execute(query.where(endpoints.c.node.in_(chunk)))
    ]


def put(connection: Connection, node: str, rows: list[EndpointRow]) -> None:
    """Store *rows* as all that *node* says; an address that another proxy had names its newest one."""
    touched = [node]
    connection.execute(delete(endpoints).where(endpoints.c.node == node))
    for row in rows:
        address = [endpoints.c[name] == getattr(row, name) for name in ("key", "port", "host", "number")]
        touched += connection.execute(delete(endpoints).where(*address).returning(endpoints.c.node)).scalars()
    if rows:
        connection.execute(endpoints.insert(), [asdict(row) for row in rows])
    _changed(connection, touched)


def remove(connection: Connection, node: str, server: str) -> int:
    """Forget what that proxy said, unless it is connected to another server than *server* now; how many addresses."""
    mine = endpoints.c.server.in_(["", server])
    gone = connection.execute(delete(endpoints).where(endpoints.c.node == node, mine)).rowcount
    if gone:
        _changed(connection, [node])
    return gone


def remove_of(connection: Connection, server: str) -> int:
    """Forget what every proxy said that was connected to *server* and came back nowhere; how many addresses."""
    gone = delete(endpoints).where(endpoints.c.server == server).returning(endpoints.c.node)
    nodes = list(connection.execute(gone).scalars())
    _changed(connection, nodes)
    return len(nodes)


def _changed(connection: Connection, nodes: Iterable[str]) -> None:
    if steps := [(ChangeKind.ENDPOINTS, node) for node in dict.fromkeys(nodes)]:
        changes.append(connection, steps)
