"""Long lists of values, in parts that one statement takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
CHUNK = 500  # bound variables a statement, well under SQLite's limit


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """*values* in order, at most `CHUNK` at a time."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
