"""Tests of showing one change to many open streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fan_out import Steady, show_all
from ringfence.broker.agent.view import Bundles, View
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.status import Code, Status

_DOMAIN = TrustDomain("example.org")
_BUNDLE = Authority.create(_DOMAIN, MemoryKeys(), now=datetime(2026, 12, 1, tzinfo=UTC)).bundle(1)
_Look = Callable[[tuple[Entry, ...]], View]


def _entries(name: str) -> tuple[Entry, ...]:
    return (Entry.read(agent_pb2.Entry(id=name, spiffe_id=f"{_DOMAIN.id}/{name}", selectors=["unix:uid:1"])),)


def _view(entries: tuple[Entry, ...], *, version: int = 1) -> View:
    return View(entries, (), Bundles(_BUNDLE, {}, version), waits=False)


@dataclass(eq=False)
class _Caller:
    """Who fails the check with *error*, and how often it was checked."""

    error: Exception | None = None
    checked: int = 0

    def check(self) -> None:
        self.checked += 1
        if self.error is not None:
            raise self.error


@dataclass
class _Stream:
    """Records what happens to it."""

    caller: _Caller
    entries: tuple[Entry, ...] = _entries("a")
    is_steady: bool = True
    answer: bool | Exception = True
    seen: list[View] = field(default_factory=list)
    woken: int = 0
    checks_before: int = 0

    def show(self, look: _Look) -> bool:
        self.checks_before = self.caller.checked
        if isinstance(self.answer, Exception):
            raise self.answer
        self.seen.append(look(self.entries))
        return self.answer

    def wake(self) -> None:
        self.woken += 1


def test_a_caller_is_looked_at_before_its_streams_once() -> None:
    """Streams of one caller in a row cost one look at it, which comes before any of them; the next has its own."""
    one, other = _Caller(), _Caller()
    streams = [_Stream(one), _Stream(one), _Stream(other)]
    show_all(streams, _view)
    assert (one.checked, other.checked) == (1, 1)
    assert [stream.checks_before for stream in streams] == [1, 1, 1]
    assert [(len(stream.seen), stream.woken) for stream in streams] == [(1, 0)] * 3


@pytest.mark.parametrize("error", [RingfenceError(Kind.DENIED, "gone"), Status(Code.UNAVAILABLE, "away")])
def test_nothing_is_shown_to_who_is_not_the_same(error: Exception) -> None:
    """Its streams are woken, to end by what their own look finds; the next caller's go on."""
    gone, there = _Stream(_Caller(error)), _Stream(_Caller())
    show_all([gone, there], _view)
    assert (gone.seen, gone.woken) == ([], 1)
    assert (len(there.seen), there.woken) == (1, 0)


def test_each_call_looks_anew() -> None:
    """A look at a caller is good for one turn of the loop: the next turn has its own."""
    stream = _Stream(_Caller())
    show_all([stream], _view)
    stream.caller.error = RingfenceError(Kind.DENIED, "gone")
    show_all([stream], _view)
    assert (len(stream.seen), stream.woken) == (1, 1)


def test_what_only_the_task_can_do_is_left_to_it() -> None:
    """A stream that waits for something else is woken unseen; one that could not be shown the change, too."""
    busy, slow = _Stream(_Caller(), is_steady=False), _Stream(_Caller(), answer=False)
    show_all([busy, slow], _view)
    assert (busy.caller.checked, busy.seen, busy.woken) == (0, [], 1)
    assert (len(slow.seen), slow.woken) == (1, 1)


def test_a_stream_that_fails_harms_no_other() -> None:
    """Whatever goes wrong with one is met again by its own task; those behind it are shown the change."""
    broken, behind = _Stream(_Caller(), answer=ValueError("no")), _Stream(_Caller())
    show_all([broken, behind], _view)
    assert broken.woken == 1
    assert (len(behind.seen), behind.woken) == (1, 0)


def test_streams_with_equal_entries_see_the_very_same_view() -> None:
    """It is made once for them; another's entries make another view."""
    streams = [_Stream(_Caller(), _entries(name)) for name in ("a", "a", "b")]
    show_all(streams, _view)
    first, second, third = (stream.seen[0] for stream in streams)
    assert first is second
    assert [entry.id for entry in third.entries] == ["b"]


def _steady(sent: list[View], *, ready: bool = True, room: bool = True) -> Steady:
    def send(view: View) -> bool:
        if room:
            sent.append(view)
        return room

    return Steady(lambda _: ready, lambda view: view.bundles.version, send)


def test_what_says_the_same_is_not_sent_again() -> None:
    """The stream has been served by having it already."""
    sent: list[View] = []
    steady = _steady(sent)
    views = [_view(_entries("a"), version=version) for version in (1, 1, 2)]
    assert [steady.show(view) for view in views] == [True, True, True]
    assert [view.bundles.version for view in sent] == [1, 2]


@pytest.mark.parametrize("how", [{"ready": False}, {"room": False}])
def test_what_cannot_be_shown_at_once_counts_as_not_shown(how: dict[str, Any]) -> None:
    """Not ready, or no room: the task has to look, and what it showed last is what it was."""
    sent: list[View] = []
    steady = _steady(sent, **how)
    assert not steady.show(_view(_entries("a")))
    assert (sent, steady.last) == ([], None)


def test_without_a_way_to_send_it_is_the_tasks() -> None:
    """Not even a view that says the same as the last is passed over."""
    steady = Steady(lambda _: True, lambda _: None, None)
    assert not steady.show(_view(_entries("a")))
