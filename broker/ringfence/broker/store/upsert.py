"""Insert or update in the words that every database understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, and_, update


def upsert(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    *,
    changed: Mapping[str, Any],
    fresh: Mapping[str, Any] | None = None,
) -> None:
    """Set *changed* in the row with *key*; where there is none, insert it, with *fresh* for the other columns.

    Two statements are safe because the transactions of `Store.run` come one after another on every database.
    """
    row = and_(*(table.c[name] == value for name, value in key.items()))
    if not connection.execute(update(table).where(row).values(**changed)).rowcount:
        connection.execute(table.insert().values(**key, **changed, **(fresh or {})))
