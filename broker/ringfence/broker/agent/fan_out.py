"""Shows one change to many open streams: each at once where that needs no waiting, so that its task need not wake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.view import View
from ringfence.certs.errors import RingfenceError
from ringfence.proto.status import Status


class Checked(Protocol):
    """Who a stream's answers are for."""

    def check(self) -> None:
        """Raise RingfenceError or Status unless it is still the one that was attested."""
        ...


class Showing(Protocol):
    """A stream that may wait for a change (watch.Watch)."""

    @property
    def caller(self) -> Checked:
        """Who it is for."""
        ...

    @property
    def is_steady(self) -> bool:
        """Whether it waits for nothing but the next change, and knows how to send it."""
        ...

    def show(self, look: Callable[[tuple[Entry, ...]], View]) -> bool:
        """Show what changed, here and now; False when that takes the stream's own task."""
        ...

    def wake(self) -> None:
        """Have its task look."""
        ...


@dataclass(slots=True)
class Steady:
    """How a stream that has shown a view is shown the next without its task, and what it showed last."""

    ready: Callable[[View], bool]
    same: Callable[[View], object]
    send: Callable[[View], bool] | None  # False when that needs waiting; None: only the task knows how
    last: object = None

    def show(self, view: View) -> bool:
        """Send *view*, unless it says what the last one did; False when the task has to."""
        if self.send is None or not self.ready(view):
            return False
        if (shown := self.same(view)) != self.last:
            if not self.send(view):
                return False
            self.last = shown
        return True


class _Look:
    """Views of one turn of the loop, in which nothing changes: streams with the same entries see the same one."""

    def __init__(self, view_of: Callable[[tuple[Entry, ...]], View]) -> None:
        self._view_of = view_of
        self._last: View | None = None

    def __call__(self, entries: tuple[Entry, ...]) -> View:
        if self._last is None or self._last.entries != entries:
            self._last = self._view_of(entries)
        return self._last


def show_all(streams: Iterable[Showing], view_of: Callable[[tuple[Entry, ...]], View]) -> None:
    """Within one turn of the loop, show each of *streams* what changed, or wake it where that needs its task.

    A caller is checked before anything is sent to it, once for those of its streams that come in a row: they are
    written together at the end of the turn.
    """
    look = _Look(view_of)
    caller: Checked | None = None
    is_same = False
    for stream in streams:
        if not stream.is_steady:
            stream.wake()
            continue
        # 1. Still the process that was attested, or whoever else it is for.
        if stream.caller is not caller:
            caller, is_same = stream.caller, _is_same(stream.caller)
        # 2. What it is entitled to now. Whatever is not plain is for its task, which looks at all of it anew.
        if not (is_same and _shown(stream, look)):
            stream.wake()


def _is_same(caller: Checked) -> bool:
    try:
        caller.check()
    except (RingfenceError, Status):
        return False  # its task finds the same, and ends the stream with it
    return True


def _shown(stream: Showing, look: Callable[[tuple[Entry, ...]], View]) -> bool:
    try:
        return stream.show(look)
    except Exception:  # noqa: BLE001 - its task meets it again and ends that stream with it; the others go on
        return False
