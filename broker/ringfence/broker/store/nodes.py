"""Agents that attested: who they are, what was proved of them, and the newest SVID of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from ringfence.broker.store import changes
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.chunks import chunks
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
    reason: str = ""  # of the ban, in an operator's words

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
    _changed(connection, node.spiffe_id)
    return True


def renewed(connection: Connection, spiffe_id: str, serial: str, not_after: int) -> bool:
    """Note the newest SVID of an agent; False, and nothing done, if it was evicted or banned meanwhile."""
    known = update(nodes).where(nodes.c.spiffe_id == spiffe_id, nodes.c.banned.is_(False))
    return _if_any(connection, connection.execute(known.values(serial=serial, not_after=not_after)).rowcount, spiffe_id)


def evict(connection: Connection, spiffe_id: str) -> bool:
    """Forget that agent, so that it has to attest anew; False if it is not known or banned: a ban stays."""
    gone = delete(nodes).where(nodes.c.spiffe_id == spiffe_id, nodes.c.banned.is_(False))
    return _if_any(connection, connection.execute(gone).rowcount, spiffe_id)


def ban(connection: Connection, stranger: Node) -> bool:
    """Refuse that agent from now on; as *stranger*, if it is not known (any more). False if it was banned before.

    To give another reason for a ban changes it; to give none leaves the one that it has.
    """
    known = nodes.c.spiffe_id == stranger.spiffe_id
    before = connection.execute(select(nodes.c.reason).where(known, nodes.c.banned)).scalar()
    if before is not None and stranger.reason in {"", before}:
        return False
    if not connection.execute(update(nodes).where(known).values(banned=True, reason=stranger.reason)).rowcount:
        connection.execute(insert(nodes).values(_row(replace(stranger, banned=True))))
    _changed(connection, stranger.spiffe_id)
    return True


def lift(connection: Connection, spiffe_id: str) -> bool:
    """End the ban of that agent; False if there is none. One that never attested is forgotten."""
    if not _is_banned(connection, spiffe_id):
        return False
    known = nodes.c.spiffe_id == spiffe_id
    connection.execute(update(nodes).where(known).values(banned=False, reason=""))
    connection.execute(delete(nodes).where(known, nodes.c.serial == ""))
    _changed(connection, spiffe_id)
    return True


def every(connection: Connection, only: Iterable[str] | None = None) -> dict[str, Node]:
    """All agents by SPIFFE ID, or those of *only* that are known."""
    if only is None:
        return _found(connection, select(nodes))
    found: dict[str, Node] = {}
    for chunk in chunks(sorted(only)):
        found |= _found(connection, select(nodes).where(nodes.c.spiffe_id.in_(chunk)))
    return found


def forget(connection: Connection, before: int) -> int:
    """Drop agents whose SVID ended before *before*, but none that is banned; how many."""
    ended = select(nodes.c.spiffe_id).where(nodes.c.not_after < before, nodes.c.banned.is_(False))
    gone = list(connection.execute(ended).scalars())
    for chunk in chunks(gone):
        connection.execute(delete(nodes).where(nodes.c.spiffe_id.in_(chunk)))
    _changed(connection, *gone)
    return len(gone)


def _found(connection: Connection, query: Select[tuple[Any, ...]]) -> dict[str, Node]:
    rows = connection.execute(query)
    return {row.spiffe_id: Node(**{**row._mapping, "selectors": tuple(row.selectors)}) for row in rows}  # noqa: SLF001  # SQLAlchemy's public name


def _if_any(connection: Connection, rows: int, spiffe_id: str) -> bool:
    if rows:
        _changed(connection, spiffe_id)
    return rows == 1


def _changed(connection: Connection, *spiffe_ids: str) -> None:
    if spiffe_ids:
        changes.append(connection, [(ChangeKind.NODE, one) for one in spiffe_ids])


def _row(node: Node) -> dict[str, object]:
    return {**asdict(node), "selectors": list(node.selectors)}


def _is_banned(connection: Connection, spiffe_id: str) -> bool:
    return bool(connection.execute(select(nodes.c.banned).where(nodes.c.spiffe_id == spiffe_id)).scalar())
