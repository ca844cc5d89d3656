"""Path templates of rule entries: `/ns/{k8s.ns}/sa/{k8s.sa}` and the selectors that fill them, both ways.

A segment is text or one placeholder, never a mix, so that a path has at most one reading. `{k8s.pod-label.n:number}`
takes numbers of one spelling only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import NAMES, NODE_KINDS, RANK, Selector

_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")
_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\.([a-z0-9_-]+)(?:\.([a-zA-Z0-9._/-]+))?(:number)?\}")
_BETWEEN = re.compile(r"/(?![^{}]*\})")  # the name of a label may hold a slash
_NUMBER = re.compile(RANK)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{k8s.ns}` is what follows in `k8s:ns:…`, `{k8s.pod-label.app}` what does in `k8s:pod-label:app:…`."""

    text: str
    kind: str
    fact: str  # "ns:", "pod-label:app:"
    number: bool = False  # what follows has to be one, as a rank is written

    @property
    def wanted(self) -> str:
        """The fact that attestors are to look for, `k8s:ns`."""
        return f"{self.kind}:{self.fact.partition(':')[0]}"

    def value(self, selectors: Iterable[Selector]) -> str:
        """What *selectors* say it is; raises INVALID when they say nothing, two things, or no path segment."""
        found = {s.value[len(self.fact) :] for s in selectors if s.kind == self.kind and s.value.startswith(self.fact)}
        if len(found) != 1:
            many = "two values" if found else "no value"
            raise RingfenceError(Kind.INVALID, f"{self.text} has {many}: there is not one {self.kind}:{self.fact}…")
        [value] = found
        if not is_segment(value):
            raise RingfenceError(Kind.INVALID, f"{self.text} is {value!r}, which is no segment of a path")
        self._check(value)
        return value

    def selector(self, value: str) -> Selector:
        """The selector that makes it *value*; raises INVALID for one that no attestor could make."""
        self._check(value)
        return Selector.parse(f"{self.kind}:{self.fact}{value}")

    def _check(self, value: str) -> None:
        if self.number and not _NUMBER.fullmatch(value):
            raise RingfenceError(Kind.INVALID, f"{self.text} is {value!r}, which is no number as ranks are written")


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A path with placeholders, valid once parsed."""

    text: str
    segments: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> PathTemplate:
        """The template that *text* spells; raises INVALID."""
        head, *parts = _BETWEEN.split(text)
        if head or not parts:
            raise _refused(text, "It starts with a slash")
        segments = tuple(_segment(part, text) for part in parts)
        # A value that an attestor found must not choose the first segment: /ringfence/ is not for workloads.
        if isinstance(segments[0], Placeholder) or segments[0] == "ringfence":
            raise _refused(text, "Its first segment is text, and not ringfence")
        if not any(isinstance(segment, Placeholder) for segment in segments):
            raise _refused(text, "It has a placeholder, such as {k8s.ns}; without one register an entry")
        return cls(text, segments)

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """In order."""
        return tuple(segment for segment in self.segments if isinstance(segment, Placeholder))

    def path(self, selectors: Iterable[Selector]) -> str:
        """The path that *selectors* make of it; raises INVALID, never guesses."""
        have = tuple(selectors)
        return "".join(f"/{s if isinstance(s, str) else s.value(have)}" for s in self.segments)

    def selectors(self, path: str) -> frozenset[Selector] | None:
        """The selectors that make *path* of it; None when it is no instance of this template."""
        head, *parts = path.split("/")
        # 1. The same number of segments, each of them one.
        if head or len(parts) != len(self.segments) or not all(map(is_segment, parts)):
            return None
        found: set[Selector] = set()
        for part, segment in zip(parts, self.segments, strict=True):
            # 2. Text is itself.
            if isinstance(segment, str):
                if part != segment:
                    return None
                continue
            # 3. A value is one that an attestor could find.
            try:
                found.add(segment.selector(part))
            except RingfenceError:
                return None
        # 4. One placeholder twice has one value, and reading back gives the same path.
        try:
            return frozenset(found) if self.path(found) == path else None
        except RingfenceError:
            return None


def is_segment(value: str) -> bool:
    """Whether *value* is one segment of a SPIFFE ID's path (SPIFFE-ID.md 2.2)."""
    return _SEGMENT.fullmatch(value) is not None and value not in {".", ".."}


def _segment(part: str, text: str) -> str | Placeholder:
    if match := _PLACEHOLDER.fullmatch(part):
        kind, name, rest, number = match.groups()
        if name not in NAMES.get(kind, ()) or kind in NODE_KINDS:
            raise _refused(text, f"No attestor finds {kind}:{name} of a workload")
        return Placeholder(part, kind, f"{name}:{rest}:" if rest else f"{name}:", number is not None)
    if not is_segment(part):
        raise _refused(text, "A segment is text (letters, digits, dots, dashes, underscores) or one {kind.name}")
    return part


def _refused(text: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"{text!r} is no template of a path", hint=hint)
