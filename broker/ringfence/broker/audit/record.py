"""One line of the audit log: what it says, and the hash that chains it to the line before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GENESIS = "0" * 64  # what the first record of all has for the hash before
OK = "ok"
MAX_LINE = 16 << 20  # bytes; 10,000 entries of one call are 0.5 MB


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded; `actor` empty is whoever makes the present call."""

    action: str  # entry.create
    subject: str
    result: str = OK
    detail: Mapping[str, Any] = field(default_factory=dict)  # JSON values; never a key, token or passphrase
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An event with its place in the chain; `time` is RFC 3339 in UTC."""

    seq: int
    time: str
    actor: str
    action: str
    subject: str
    result: str
    detail: Mapping[str, Any]
    prev: str
    hash: str

    def line(self) -> bytes:
        """The record as the file has it, with its line end."""
        return _canonical(self.said() | {"hash": self.hash}) + b"\n"

    def said(self) -> dict[str, Any]:
        """Everything that the hash covers."""
        return {name: getattr(self, name) for name in Record.__slots__ if name != "hash"}


def seal(event: Event, *, seq: int, time: str, prev: str) -> Record:
    """*event* as the record *seq*, chained to *prev*: SHA-256 over its canonical JSON, hex."""
    record = Record(seq, time, event.actor, event.action, event.subject, event.result, event.detail, prev, "")
    return Record(**record.said(), hash=_hash(record.said()))


def parse(line: bytes) -> Record:
    """The record of one whole line; raises ValueError saying what is wrong with it.

    A line that is not written exactly as we write it is refused, so that no second reading of it exists.
    """
    # 1. It is an object with exactly our fields.
    found = json.loads(line)
    if not isinstance(found, dict) or set(found) != set(Record.__slots__):
        raise ValueError("it has not the fields of a record")
    # 2. The number is a number.
    if type(found["seq"]) is not int or found["seq"] < 1:
        raise ValueError("its sequence is no number from 1")
    record = Record(**found)
    # 3. Nothing was changed since it was sealed.
    if record.hash != _hash(record.said()):
        raise ValueError("its hash is not that of its content")
    # 4. It stands as we would write it.
    if record.line() != line:
        raise ValueError("it is not written as records are")
    return record


def _hash(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(said)).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
