"""The issuance ledger: what is about to be signed, then that it was; a crash in between leaves its trace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from ringfence.broker.store.many import execute_many
from ringfence.broker.store.schema import issuance
from ringfence.broker.store.upsert import upsert

INTENT, ISSUED, REFUSED = "intent", "issued", "refused"
_RECORD = issuance.insert()
_TO_ISSUED = update(issuance).where(issuance.c.serial == bindparam("done")).values(state=bindparam("become"))
BATCH = 500  # rows that one transaction forgets, so that issuing never waits long for it


@dataclass(frozen=True, slots=True)
class Issuance:
    """One document to be signed; `serial` is the certificate's serial number in hex, or a JWT's own id."""

    serial: str
    kind: str  # x509 | jwt
    spiffe_id: str
    entry_id: str  # empty for Ringfence's own identities
    agent_id: str
    authority: str  # key id that signs
    not_after: int  # Unix seconds


@dataclass(frozen=True, slots=True)
class Refusal:
    """One document that was asked for and not given; `spiffe_id` empty for an entry that is not known."""

    kind: str  # x509 | jwt
    spiffe_id: str
    entry_id: str
    agent_id: str
    why: str  # a RingfenceError's kind
    reason: str

    @property
    def serial(self) -> str:
        """A name in place of a serial: refusing the same again replaces it, so that asking often fills no disk."""
        parts = (self.kind, self.spiffe_id, self.entry_id, self.agent_id, self.why)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def refuse(connection: Connection, items: Sequence[Refusal], now: int) -> None:
    """Record that *items* were refused, each as the newest of its kind."""
    for item in items:
        changed = {"reason": item.reason[:256], "recorded_at": now, "not_after": now}
        fresh = {name: getattr(item, name) for name in ("kind", "spiffe_id", "entry_id", "agent_id")}
        fresh |= {"authority": "", "state": REFUSED}
        upsert(connection, issuance, {"serial": item.serial}, changed=changed, fresh=fresh)


def intend(connection: Connection, items: Sequence[Issuance], now: int) -> None:
    """Record *items* before any of them is signed."""
    rows = [
        {
            "serial": item.serial,
            "kind": item.kind,
            "spiffe_id": item.spiffe_id,
            "entry_id": item.entry_id,
            "agent_id": item.agent_id,
            "authority": item.authority,
            "not_after": item.not_after,
            "recorded_at": now,
            "state": INTENT,
        }
        for item in items
    ]
    execute_many(connection, _RECORD, rows)


def issued(connection: Connection, serials: Sequence[str]) -> None:
    """Record that these were signed, checked and are about to be delivered."""
    execute_many(connection, _TO_ISSUED, [{"done": serial, "become": ISSUED} for serial in serials])


def unfinished(connection: Connection, authorities: Sequence[str] | None = None) -> list[str]:
    """Serials that were intended (for *authorities*) and never recorded as issued: they may have been signed or not."""
    query = select(issuance.c.serial).where(issuance.c.state == INTENT)
    if authorities is not None:
        query = query.where(issuance.c.authority.in_(authorities))
    return list(connection.execute(query).scalars())


def states(connection: Connection) -> dict[str, str]:
    """State by serial, of what was to be signed: not of what was refused before."""
    query = select(issuance.c.serial, issuance.c.state).where(issuance.c.state != REFUSED)
    return {row.serial: row.state for row in connection.execute(query)}


def prune(connection: Connection, before: int, limit: int = BATCH) -> int:
    """Forget documents that ended before *before*, at most *limit*; how many."""
    old = select(issuance.c.serial).where(issuance.c.not_after < before).limit(limit)
    return connection.execute(delete(issuance).where(issuance.c.serial.in_(old))).rowcount
