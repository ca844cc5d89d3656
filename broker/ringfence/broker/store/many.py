"""One statement for many rows, drawn up once for a database: the rows go to its driver as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A statement as one database takes it; `written` are the values that its driver does not take as Python's."""

    text: str
    positions: tuple[str, ...]  # empty for a database that takes values by name
    written: tuple[tuple[str, Callable[[Any], Any]], ...]


def execute_many(connection: Connection, statement: Insert | Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run *statement* with each of *rows*, which all have the same names: of columns, or of what it leaves open."""
    if not rows:
        return
    drawn = _drawn_up(statement, tuple(rows[0]), connection.dialect)
    given: Iterable[Mapping[str, Any]] = rows
    if drawn.written:
        given = [{**row, **{name: write(row[name]) for name, write in drawn.written}} for row in rows]
    values = map(itemgetter(*drawn.positions), given) if drawn.positions else given
    connection.exec_driver_sql(drawn.text, list(values))


@lru_cache(maxsize=16)
def _drawn_up(statement: Insert | Update, names: tuple[str, ...], dialect: Dialect) -> _Drawn:
    compiled = statement.compile(dialect=dialect, column_keys=names if isinstance(statement, Insert) else None)
    writers = {name: compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
    written = tuple((name, write) for name, write in writers.items() if write is not None)
    return _Drawn(str(compiled), tuple(compiled.positiontup or ()), written)
