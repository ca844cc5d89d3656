"""`with span(ISSUE, {...}):` around work worth a span; costs one attribute read until telemetry is switched on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class Span(Protocol):
    """What the block inside may do with its span."""

    @property
    def trace_id(self) -> str:
        """Of the trace that it belongs to, lower-case hex; empty without telemetry."""

    def set(self, name: str, value: Value) -> None:
        """Add one attribute, known only now."""


@dataclass(frozen=True, slots=True)
class EndedSpan:
    """One span that is over, ours or a proxy's; ids are lower-case hex, times Unix nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str] = field(default_factory=dict)


class _NoSpan:
    """The span of a process without telemetry: shared, does nothing."""

    __slots__ = ()
    trace_id = ""

    def set(self, name: str, value: Value) -> None:
        """Nothing is kept."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


Opener = Callable[[str, Attributes], AbstractContextManager[Span]]
_NO_SPAN = _NoSpan()


class _Switch:
    """Where the process's spans go; one a process, since libraries and rooms share it."""

    __slots__ = ("openers",)

    def __init__(self) -> None:
        self.openers: tuple[Opener, ...] = ()


_SWITCH = _Switch()


def span(name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
    """A span of `telemetry.names` around the block; an exception ends it with the error's class, never its text."""
    openers = _SWITCH.openers
    return openers[-1](name, attributes or {}) if openers else _NO_SPAN


@contextmanager
def sent_to(opener: Opener) -> Iterator[None]:
    """Within the block spans go to *opener*; of several blocks at once, which may end in any order, to the newest."""
    _SWITCH.openers = (*_SWITCH.openers, opener)
    try:
        yield
    finally:
        _SWITCH.openers = tuple(each for each in _SWITCH.openers if each is not opener)
