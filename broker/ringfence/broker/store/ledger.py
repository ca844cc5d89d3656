"""The issuance ledger: what is about to be signed, then that it was; a crash in between leaves its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from ringfence.broker.store.schema import issuance

INTENT, ISSUED = "intent", "issued"


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
    connection.execute(issuance.insert(), rows)


def issued(connection: Connection, serials: Sequence[str]) -> None:
    """Record that these were signed, checked and are about to be delivered."""
    for start in range(0, len(serials), 500):
        chunk = serials[start : start + 500]
        connection.execute(update(issuance).where(issuance.c.serial.in_(chunk)).values(state=ISSUED))


def unfinished(connection: Connection) -> list[str]:
    """Serials that were intended and never recorded as issued: they may or may not have been signed."""
    return list(connection.execute(select(issuance.c.serial).where(issuance.c.state == INTENT)).scalars())


def states(connection: Connection) -> dict[str, str]:
    """State by serial."""
    return {row.serial: row.state for row in connection.execute(select(issuance.c.serial, issuance.c.state))}


def prune(connection: Connection, before: int) -> int:
    """Forget documents that ended before *before*; how many."""
    return connection.execute(delete(issuance).where(issuance.c.not_after < before)).rowcount
