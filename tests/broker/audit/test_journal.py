"""Appending, crashes in the middle of it, disks that fail, and rotation."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from ringfence.broker.audit import journal
from ringfence.broker.audit.actor import acting
from ringfence.broker.audit.chain import ACTIVE, Checked, files_of, verify
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import GENESIS, Event, Record, parse
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.world import Clock


def opened(folder: Path, **options: int) -> AuditLog:
    """The log of *folder*."""
    return AuditLog.open(folder / ACTIVE, clock=Clock(), **options)


def records(folder: Path) -> list[Record]:
    """All of them, oldest first."""
    return [parse(line) for path in files_of(folder / ACTIVE) for line in path.read_bytes().splitlines(keepends=True)]


def checked(folder: Path) -> Checked:
    """The whole chain."""
    return verify(files_of(folder / ACTIVE))


def test_records_are_chained_from_nothing_and_over_a_restart(tmp_path: Path) -> None:
    """Numbers and hashes go on where they ended; only the owner reads the file."""
    log = opened(tmp_path)
    log.append([Event("a", "1"), Event("b", "2", actor="someone")])
    log.close()
    log = opened(tmp_path)
    log.append([Event("c", "3")])
    log.close()
    found = records(tmp_path)
    assert [(r.seq, r.action, r.actor) for r in found] == [(1, "a", "server"), (2, "b", "someone"), (3, "c", "server")]
    assert [r.prev for r in found] == [GENESIS, found[0].hash, found[1].hash]
    assert found[0].time == "2026-11-24T12:00:00.000Z"
    assert checked(tmp_path) == Checked(3, 1, 3, log.head[1])
    assert (tmp_path / ACTIVE).stat().st_mode & 0o777 == 0o600


def test_whoever_calls_is_the_actor(tmp_path: Path) -> None:
    """Unless the event names another."""
    log = opened(tmp_path)
    with acting("uid:1000"):
        log.append([Event("a", "1"), Event("b", "2", actor="x")])
    log.close()
    assert [r.actor for r in records(tmp_path)] == ["uid:1000", "x"]


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_is_cut_off_and_said_so(tmp_path: Path, kept: int) -> None:
    """A crash in the middle of a write leaves half a line: the records before it stay, the cut is a record itself."""
    log = opened(tmp_path)
    log.append([Event("a", "1")])
    whole = (tmp_path / ACTIVE).stat().st_size
    log.append([Event("b", "2")])
    log.close()
    data = (tmp_path / ACTIVE).read_bytes()
    torn = data[: whole + kept] if kept > 0 else data[:kept]
    (tmp_path / ACTIVE).write_bytes(torn)
    log = opened(tmp_path)
    log.close()
    found = records(tmp_path)
    assert [r.action for r in found] == ["a", "audit.repair"]
    assert found[1].detail == {"bytes_cut_off": len(torn) - whole}
    assert log.repaired == len(torn) - whole
    assert checked(tmp_path).records == 2


def test_a_file_of_nothing_but_half_a_line_begins_anew(tmp_path: Path) -> None:
    """The crash was in the very first write."""
    (tmp_path / ACTIVE).write_bytes(b'{"action":"a')
    opened(tmp_path).close()
    assert [(r.seq, r.action) for r in records(tmp_path)] == [(1, "audit.repair")]


def test_a_last_record_that_was_changed_keeps_the_log_from_going_on(tmp_path: Path) -> None:
    """It would vouch for what was forged."""
    log = opened(tmp_path)
    log.append([Event("a", "1")])
    log.close()
    (tmp_path / ACTIVE).write_bytes((tmp_path / ACTIVE).read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(RingfenceError, match="last record") as caught:
        opened(tmp_path)
    assert caught.value.kind is Kind.INVALID


def test_a_full_file_is_rotated_and_the_chain_goes_on(tmp_path: Path) -> None:
    """Over as many files as it takes, and over a restart right after a rotation."""
    log = opened(tmp_path, rotate_bytes=600)
    for number in range(9):
        log.append([Event("a", str(number))])
    log.close()
    files = files_of(tmp_path / ACTIVE)
    assert len(files) > 3
    assert all(path.stat().st_size <= 600 and path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert checked(tmp_path).records == 9
    # As a crash between the rename and the first record would leave it.
    last = records(tmp_path)[-1]
    (tmp_path / ACTIVE).rename(tmp_path / f"audit-{last.seq:012d}.jsonl")
    log = opened(tmp_path)
    log.append([Event("b", "after")])
    log.close()
    assert checked(tmp_path) == Checked(10, 1, 10, log.head[1])


def test_a_write_that_fails_is_refused_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the line was written when the disk filled up; the next record stands whole."""
    log = opened(tmp_path)
    log.append([Event("a", "1")])
    real = os.write
    calls = 0

    def full(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, bytes(data)[:20])

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(RingfenceError, match="audit log") as caught:
        log.append([Event("b", "2")])
    assert caught.value.kind is Kind.EXHAUSTED
    assert checked(tmp_path) == Checked(1, 1, 1, records(tmp_path)[0].hash)
    monkeypatch.undo()
    log.append([Event("c", "3")])
    log.close()
    assert [(r.seq, r.action) for r in records(tmp_path)] == [(1, "a"), (2, "c")]


def test_a_sync_that_fails_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not on disk is not recorded."""
    log = opened(tmp_path)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(journal.os, "fdatasync", broken)
    with pytest.raises(RingfenceError, match="audit log") as caught:
        log.append([Event("b", "2")])
    assert caught.value.kind is Kind.UNAVAILABLE
    assert records(tmp_path) == []


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    """Or the log would be written wherever it points."""
    (tmp_path / ACTIVE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RingfenceError):
        opened(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_threads_do_not_break_the_chain(tmp_path: Path) -> None:
    """Each call's records stand together, in one order."""
    log = opened(tmp_path, rotate_bytes=8000)
    each = [[Event("x", f"{n}/{i}") for i in range(3)] for n in range(40)]
    threads = [threading.Thread(target=lambda events=events: log.append(events)) for events in each]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert checked(tmp_path).records == 120
    subjects = [r.subject.split("/")[0] for r in records(tmp_path)]
    assert all(len(set(subjects[i : i + 3])) == 1 for i in range(0, 120, 3))
