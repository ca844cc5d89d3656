"""The authority's public state: certificates and key names, with the bundle's sequence number."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from ringfence.broker.store.schema import authority
from ringfence.broker.store.upsert import upsert


def load(connection: Connection, server: str) -> tuple[dict[str, Any], int] | None:
    """The state as `Authority.to_state` gave it and the sequence of its bundle, or None before the first save."""
    row = connection.execute(select(authority).where(authority.c.server == server)).one_or_none()
    return None if row is None else (row.state, row.sequence)


def save(connection: Connection, server: str, state: dict[str, Any], sequence: int) -> None:
    """Store the state; *sequence* must be higher than the one before when the bundle changed (SPIFFE bundle 4.1.1)."""
    upsert(connection, authority, {"server": server}, changed={"state": state, "sequence": sequence})
