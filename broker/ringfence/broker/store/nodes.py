"""Agents that attested: who they are, and the one SVID serial each may use next."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from ringfence.broker.store.schema import nodes


@dataclass(frozen=True, slots=True)
class Node:
    """An attested agent; times are Unix seconds."""

    spiffe_id: str
    attestor: str
    attested_at: int
    serial: str  # of its newest SVID, hex
    not_after: int
    banned: bool = False


def put(connection: Connection, node: Node) -> None:
    """Store or renew *node*; a ban stays."""
    statement = insert(nodes).values(
        spiffe_id=node.spiffe_id,
        attestor=node.attestor,
        attested_at=node.attested_at,
        serial=node.serial,
        not_after=node.not_after,
        banned=node.banned,
    )
    changed = {"serial": node.serial, "not_after": node.not_after}
    connection.execute(statement.on_conflict_do_update(index_elements=["spiffe_id"], set_=changed))


def ban(connection: Connection, spiffe_id: str) -> bool:
    """Refuse that agent from now on; whether it is known."""
    return connection.execute(update(nodes).where(nodes.c.spiffe_id == spiffe_id).values(banned=True)).rowcount == 1


def every(connection: Connection) -> dict[str, Node]:
    """All agents by SPIFFE ID."""
    return {row.spiffe_id: Node(**row._mapping) for row in connection.execute(select(nodes))}  # noqa: SLF001  # SQLAlchemy's public name


def forget(connection: Connection, before: int) -> int:
    """Drop agents whose SVID ended before *before*, but none that is banned; how many."""
    return connection.execute(delete(nodes).where(nodes.c.not_after < before, nodes.c.banned.is_(False))).rowcount
