"""Verification: every way to tamper is found, and the first broken record is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringfence.broker.audit.chain import ACTIVE, Checked, files_of, verify
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import GENESIS, Event, seal
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.world import Clock

Lines = list[bytes]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five records in one file."""
    opened = AuditLog.open(tmp_path / ACTIVE, clock=Clock())
    opened.append([Event("entry.create", f"e{number}") for number in range(1, 6)])
    opened.close()
    return tmp_path / ACTIVE


def _taken_away(lines: Lines) -> Lines:
    return [*lines[:2], *lines[3:]]


def _changed(lines: Lines) -> Lines:
    return [*lines[:2], lines[2].replace(b'"e3"', b'"xx"'), *lines[3:]]


def _exchanged(lines: Lines) -> Lines:
    return [*lines[:2], lines[3], lines[2], lines[4]]


def _resealed(lines: Lines) -> Lines:
    forged = seal(Event("entry.create", "forged", actor="server"), seq=3, time="t", prev="0" * 64)
    return [*lines[:2], forged.line(), *lines[3:]]


def _garbage(lines: Lines) -> Lines:
    return [*lines[:2], b"garbage\n", *lines[2:]]


@pytest.mark.parametrize("tamper", [_taken_away, _changed, _exchanged, _resealed, _garbage])
def test_the_first_broken_record_is_named(log: Path, tamper: Callable[[Lines], Lines]) -> None:
    """By its sequence, file and line."""
    log.write_bytes(b"".join(tamper(log.read_bytes().splitlines(keepends=True))))
    with pytest.raises(RingfenceError, match="broken at record 3") as caught:
        verify([log])
    assert caught.value.kind is Kind.INVALID
    assert caught.value.where == f"{log}:3"


def test_a_forged_record_breaks_the_one_after_it(log: Path) -> None:
    """Sealed anew and well chained to the past, it is not what the next one follows."""
    lines = log.read_bytes().splitlines(keepends=True)
    before = verify([_file(log, lines[:2])]).head
    forged = seal(Event("entry.create", "forged", actor="server"), seq=3, time="t", prev=before)
    log.write_bytes(b"".join([*lines[:2], forged.line(), *lines[3:]]))
    with pytest.raises(RingfenceError, match="broken at record 4"):
        verify([log])


def test_a_first_record_follows_nothing(log: Path) -> None:
    """Record 1 begins the chain."""
    log.write_bytes(seal(Event("a", "b"), seq=1, time="t", prev="f" * 64).line())
    with pytest.raises(RingfenceError, match="follows another"):
        verify([log])


def test_a_part_is_checked_from_where_it_begins(log: Path) -> None:
    """And says from where."""
    part = _file(log, log.read_bytes().splitlines(keepends=True)[3:])
    found = verify([part])
    assert (found.records, found.first, found.last) == (2, 4, 5)


def test_a_missing_rotated_file_shows(tmp_path: Path) -> None:
    """The chain goes over files."""
    opened = AuditLog.open(tmp_path / ACTIVE, clock=Clock(), rotate_bytes=600)
    for number in range(9):
        opened.append([Event("a", str(number))])
    opened.close()
    files = files_of(tmp_path / ACTIVE)
    assert verify(files).records == 9
    with pytest.raises(RingfenceError, match="it has the sequence"):
        verify([files[0], *files[2:]])
    files[0].write_bytes(files[0].read_bytes()[:-5])
    with pytest.raises(RingfenceError):
        verify(files)


def test_an_unfinished_record_at_the_end_is_told_apart_from_a_broken_one(log: Path) -> None:
    """A server may be writing it, or a crash left it: the next start cuts it off."""
    log.write_bytes(log.read_bytes() + b'{"act')
    assert verify([log]).torn == 5
    assert verify([]) == Checked(0, 0, 0, GENESIS)


def _file(beside: Path, lines: Lines) -> Path:
    part = beside.with_name("part")
    part.write_bytes(b"".join(lines))
    return part
