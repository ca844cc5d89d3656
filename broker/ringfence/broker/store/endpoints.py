"""Where workloads can be reached, kept so that a restarted server does not empty every proxy's endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from ringfence.broker.store.schema import endpoints
from ringfence.broker.store.upsert import upsert


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One address of one port of one workload, and the proxy that said so."""

    key: str  # namespace/name
    port: str
    host: str
    number: int
    node: str


def every(connection: Connection) -> list[EndpointRow]:
    """All of them."""
    return [EndpointRow(r.key, r.port, r.host, r.number, r.node) for r in connection.execute(select(endpoints))]


def put(connection: Connection, rows: list[EndpointRow]) -> None:
    """Store *rows*; the same address again names its newest proxy."""
    for row in rows:
        address = {"key": row.key, "port": row.port, "host": row.host, "number": row.number}
        upsert(connection, endpoints, address, changed={"node": row.node})


def remove(connection: Connection, node: str) -> int:
    """Forget what that proxy said; how many addresses."""
    return connection.execute(delete(endpoints).where(endpoints.c.node == node)).rowcount
