"""One line of the audit log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.audit.record import GENESIS, Event, Record, parse, seal

TIME = "2026-11-24T12:00:00.000Z"


def sealed(**detail: object) -> Record:
    """The first record of a chain."""
    event = Event("entry.create", "spiffe://example.org/a", detail=detail, actor="uid:0")
    return seal(event, seq=1, time=TIME, prev=GENESIS)


@given(st.text(), st.text(), st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_what_is_written_is_what_is_read(subject: str, result: str, detail: dict[str, object]) -> None:
    """Any text survives, on one line."""
    event = Event("a", subject, result, detail, "b")
    record = seal(event, seq=7, time=TIME, prev="f" * 64)
    assert record.line().count(b"\n") == 1
    assert parse(record.line()) == record


@pytest.mark.parametrize("name", ["seq", "time", "actor", "action", "subject", "result", "detail", "prev"])
def test_every_field_is_covered_by_the_hash(name: str) -> None:
    """Whatever is changed shows."""
    said = json.loads(sealed(n=1).line())
    said[name] = 2 if name == "seq" else "x"
    with pytest.raises(ValueError, match="hash"):
        parse(json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def test_only_our_own_way_of_writing_is_read() -> None:
    """A second reading of the same line (a repeated name, other spacing) cannot be smuggled in."""
    line = sealed().line()
    for forged in (line.replace(b'{"action"', b'{"action":"x","action"'), line.replace(b":", b": ", 1), line[:-1]):
        with pytest.raises(ValueError, match="written"):
            parse(forged)


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b"\x00\x00\n", b'{"seq":1}\n'])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    """Without a traceback of another kind."""
    with pytest.raises(ValueError):  # the text differs by what it is
        parse(line)


@pytest.mark.parametrize("seq", [0, -1, True, "1", 1.0])
def test_a_sequence_is_a_number_from_1(seq: object) -> None:
    """Also when the hash fits."""
    said = sealed().said() | {"seq": seq}
    forged = seal(Event("a", "b"), seq=seq, time=TIME, prev=GENESIS)  # type: ignore[arg-type]
    assert said["seq"] == forged.seq
    with pytest.raises(ValueError, match="sequence"):
        parse(forged.line())
