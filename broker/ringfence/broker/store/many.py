"""One statement for many rows, drawn up once for a database: the rows go to its driver as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update
from sqlalchemy.engine import Compiled


def execute_many(connection: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run *statement* with each of *rows*, which all have the same names: of columns, or of what it leaves open.

    Only for columns whose values the driver takes as Python has them: texts, numbers, bytes.
    """
    if not rows:
        return
    compiled = _drawn_up(statement, tuple(rows[0]), connection.dialect)
    positions = compiled.positiontup  # type: ignore[attr-defined]  # of a statement, not of a definition
    connection.exec_driver_sql(str(compiled), list(map(itemgetter(*positions), rows)) if positions else list(rows))


@lru_cache(maxsize=16)
def _drawn_up(statement: Insert | Update, names: tuple[str, ...], dialect: Dialect) -> Compiled:
    return statement.compile(dialect=dialect, column_keys=names if isinstance(statement, Insert) else None)
