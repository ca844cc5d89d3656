"""Checks a chain of records, offline, and names the first one that is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ringfence.broker.audit.record import GENESIS, Record, parse
from ringfence.certs.errors import Kind, RingfenceError

ACTIVE = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Checked:
    """A chain that holds: from where to where, and how many bytes at the end are no record yet."""

    records: int
    first: int
    last: int
    head: str  # hash of the last record
    torn: int = 0


def files_of(active: Path) -> list[Path]:
    """The log's files, oldest first: those rotated away, then *active* if it is there."""
    rotated = sorted(active.parent.glob(f"{active.stem}-*{active.suffix}"))
    return [*rotated, *([active] if active.exists() else [])]


def rotated_name(active: Path, last: int) -> Path:
    """What *active* is called once it is full; *last* is the sequence of its last record."""
    return active.with_name(f"{active.stem}-{last:012d}{active.suffix}")


def verify(files: Iterable[Path]) -> Checked:
    """Check *files* as one chain; raises INVALID at the first broken record, naming its file, line and sequence.

    A chain that begins later than the first record is checked from there: what was before it is not known.
    """
    before: Record | None = None
    count = first = torn = 0
    for path in files:
        if torn:
            raise _broken(path, 1, before, "the file before it ends in the middle of a record")
        for number, line in enumerate(_lines(path), 1):
            if not line.endswith(b"\n"):
                torn = len(line)
                break
            before = _follow(path, number, line, before)
            count += 1
            first = first or before.seq
    if before is None:
        return Checked(0, 0, 0, GENESIS, torn)
    return Checked(count, first, before.seq, before.hash, torn)


def _follow(path: Path, number: int, line: bytes, before: Record | None) -> Record:
    try:
        record = parse(line)
    except ValueError as error:
        raise _broken(path, number, before, str(error)) from None
    if before is None:
        if record.seq == 1 and record.prev != GENESIS:
            raise _broken(path, number, None, "the first record follows another one")
    elif record.seq != before.seq + 1:
        raise _broken(path, number, before, f"it has the sequence {record.seq}")
    elif record.prev != before.hash:
        raise _broken(path, number, before, "it does not follow from the record before it")
    return record


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _broken(path: Path, number: int, before: Record | None, why: str) -> RingfenceError:
    place = f"record {before.seq + 1}" if before is not None else "the first record"
    return RingfenceError(
        Kind.INVALID,
        f"the audit log is broken at {place}: {why}",
        where=f"{path}:{number}",
        hint="What stands before it is sound; compare with a copy to learn what was changed",
    )
