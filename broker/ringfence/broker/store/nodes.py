"""Agents that attested: who they are, what was proved of them, and the newest SVID of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, delete, insert, select, update

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
    selectors: tuple[str, ...] = ()  # that its last attestation proved

    @property
    def can_reattest(self) -> bool:
        """Whether it can prove itself again without an operator; a join token works once."""
        return self.attestor != "join_token"


# Each function may be several statements: the transactions of `Store.run` come one after another on every database.


def attested(connection: Connection, node: Node) -> bool:
    """Store *node*, which has proved itself, again or for the first time; False, and nothing done, if it is banned."""
    if _is_banned(connection, node.spiffe_id):
        return False
    connection.execute(delete(nodes).where(nodes.c.spiffe_id == node.spiffe_id))
    connection.execute(insert(nodes).values(_row(node)))
    return True


def renewed(connection: Connection, spiffe_id: str, serial: str, not_after: int) -> bool:
    """Note the newest SVID of an agent; False, and nothing done, if it was evicted or banned meanwhile."""
    known = update(nodes).where(nodes.c.spiffe_id == spiffe_id, nodes.c.banned.is_(False))
    return connection.execute(known.values(serial=serial, not_after=not_after)).rowcount == 1


def evict(connection: Connection, spiffe_id: str) -> bool:
    """Forget that agent, so that it has to attest anew; False if it is not known or banned: a ban stays."""
    gone = delete(nodes).where(nodes.c.spiffe_id == spiffe_id, nodes.c.banned.is_(False))
    return connection.execute(gone).rowcount == 1


def ban(connection: Connection, stranger: Node) -> bool:
    """Refuse that agent from now on; as *stranger*, if it is not known (any more). False if it was banned before."""
    if _is_banned(connection, stranger.spiffe_id):
        return False
    known = update(nodes).where(nodes.c.spiffe_id == stranger.spiffe_id)
    if not connection.execute(known.values(banned=True)).rowcount:
        connection.execute(insert(nodes).values(_row(replace(stranger, banned=True))))
    return True


def lift(connection: Connection, spiffe_id: str) -> bool:
    """End the ban of that agent; False if there is none. One that never attested is forgotten."""
    if not _is_banned(connection, spiffe_id):
        return False
    known = nodes.c.spiffe_id == spiffe_id
    connection.execute(update(nodes).where(known).values(banned=False))
    connection.execute(delete(nodes).where(known, nodes.c.serial == ""))
    return True


def every(connection: Connection) -> dict[str, Node]:
    """All agents by SPIFFE ID."""
    found = (
        Node(**{**row._mapping, "selectors": tuple(row.selectors)})  # noqa: SLF001  # SQLAlchemy's public name
        for row in connection.execute(select(nodes))
    )
    return {node.spiffe_id: node for node in found}


def forget(connection: Connection, before: int) -> int:
    """Drop agents whose SVID ended before *before*, but none that is banned; how many."""
    return connection.execute(delete(nodes).where(nodes.c.not_after < before, nodes.c.banned.is_(False))).rowcount


def _row(node: Node) -> dict[str, object]:
    return {**asdict(node), "selectors": list(node.selectors)}


def _is_banned(connection: Connection, spiffe_id: str) -> bool:
    return bool(connection.execute(select(nodes.c.banned).where(nodes.c.spiffe_id == spiffe_id)).scalar())
