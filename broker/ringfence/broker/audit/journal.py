"""Appends to the audit log: on disk before anyone is told, or the action is refused; full files are rotated away."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ringfence.broker.audit.actor import present_actor
from ringfence.broker.audit.chain import files_of, rotated_name
from ringfence.broker.audit.record import GENESIS, MAX_LINE, Event, Record, parse, seal
from ringfence.certs.errors import Kind, RingfenceError

DEFAULT_ROTATE = 64 << 20  # bytes
SERVER = "server"  # who acts when nobody called


class AuditLog:
    """One open log. `append` may be called from any thread; records of one call stand together."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime], rotate_bytes: int) -> None:
        self.repaired = 0  # bytes of torn last lines cut off since the start
        self._path = path
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0  # of what is known to be whole and on disk
        self._seq = 0
        self._head = GENESIS
        self._torn = 0  # bytes cut off that no record tells of yet

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], datetime], rotate_bytes: int = DEFAULT_ROTATE) -> AuditLog:
        """The log at *path*, continued where it ended; a last line that a crash cut short is cut off and said so.

        Raises INVALID when the last whole record is broken, UNAVAILABLE or EXHAUSTED when it cannot be written.
        """
        log = cls(path, clock=clock, rotate_bytes=rotate_bytes)
        try:
            log._begin()
        except OSError as error:
            raise _unwritable(path, error) from error
        if log._torn:
            log.append([])
        return log

    @property
    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last record."""
        return self._seq, self._head

    def append(self, events: Sequence[Event]) -> None:
        """Record *events*, durable on return; raises UNAVAILABLE or EXHAUSTED, and then none of them stands."""
        with self._lock:
            try:
                self._append(events)
            except OSError as error:
                self._forget()
                raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._forget()

    def _append(self, events: Sequence[Event]) -> None:
        # 1. After a failure, start again from what is known to be whole.
        if self._fd < 0:
            self._begin()
        if self._torn:
            cut = {"bytes_cut_off": self._torn}
            events = [Event("audit.repair", self._path.name, detail=cut, actor=SERVER), *events]
        # 2. Chain.
        records = self._chained(events)
        if not records:
            return
        lines = [record.line() for record in records]
        if max(map(len, lines)) > MAX_LINE:
            raise RingfenceError(Kind.INVALID, "one action names more than the audit log takes", hint="Split it")
        data = b"".join(lines)
        # 3. A full file makes room first, so that a record is never split over two.
        if self._size and self._size + len(data) > self._rotate_bytes:
            self._rotate()
        # 4. On disk, whole; only then is it the head.
        self._write(data)
        self._size += len(data)
        self._seq, self._head, self._torn = records[-1].seq, records[-1].hash, 0

    def _chained(self, events: Sequence[Event]) -> list[Record]:
        time = self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        records: list[Record] = []
        seq, head = self._seq, self._head
        for event in events:
            whole = replace(event, actor=event.actor or present_actor() or SERVER)
            records.append(seal(whole, seq=seq + 1, time=time, prev=head))
            seq, head = records[-1].seq, records[-1].hash
        return records

    def _write(self, data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._fd, left) :]
            os.fdatasync(self._fd)
        except OSError:
            # Half a line must not stay for the next record to be glued to.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise

    def _begin(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(self._fd, 0o600)
        self._size = os.fstat(self._fd).st_size
        whole = _whole(self._fd, self._size)
        if whole != self._size:
            self._torn += self._size - whole
            self.repaired += self._size - whole
            os.ftruncate(self._fd, whole)
            os.fsync(self._fd)
            self._size = whole
        last = _last(self._path, self._fd, whole) or self._before()
        self._seq, self._head = (last.seq, last.hash) if last is not None else (0, GENESIS)
        _sync_folder(self._path.parent)

    def _before(self) -> Record | None:
        """The last record of the newest file that was rotated away, when the present one is empty."""
        rotated = files_of(self._path)[:-1]
        if not rotated:
            return None
        fd = os.open(rotated[-1], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _last(rotated[-1], fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def _rotate(self) -> None:
        self._path.rename(rotated_name(self._path, self._seq))
        os.close(self._fd)
        self._fd = -1
        self._begin()

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _whole(fd: int, size: int) -> int:
    """How many bytes end with a line end."""
    end = size
    while end:
        start = max(end - 65536, 0)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _last(path: Path, fd: int, size: int) -> Record | None:
    """The last record of a file that ends with a line end; raises INVALID when it is broken."""
    if not size:
        return None
    start = _whole(fd, size - 1)
    try:
        return parse(os.pread(fd, size - start, start))
    except ValueError as error:
        raise RingfenceError(
            Kind.INVALID,
            f"the last record of the audit log is broken: {error}",
            where=str(path),
            hint="Run `ringfence audit verify`, keep the file for whoever looks into it, and move it away",
        ) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(path: Path, error: OSError) -> RingfenceError:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return RingfenceError(
        Kind.EXHAUSTED if full else Kind.UNAVAILABLE,
        f"refused, because the audit log cannot be written: {error.strerror}",
        where=str(path),
        hint="Free some space" if full else "Check the file and its owner",
    )
