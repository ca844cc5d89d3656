"""The spans that pushed a revision to proxies, among all that come in: what `explain` links a decision to."""

from __future__ import annotations

from ringfence.broker.telemetry.names import PUSH, REVISION
from ringfence.broker.telemetry.spans import EndedSpan

CAPACITY = 10_000


class SpanStore:
    """Keeps of the last *capacity* revisions the span that first pushed each, and counts all spans."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._pushes: dict[str, EndedSpan] = {}
        self._capacity = capacity
        self.added = 0

    def add(self, span: EndedSpan) -> None:
        """Take in *span*."""
        self.added += 1
        revision = span.attributes.get(REVISION)
        if span.name == PUSH and revision and revision not in self._pushes:
            if len(self._pushes) >= self._capacity:
                del self._pushes[next(iter(self._pushes))]
            self._pushes[revision] = span

    def push_of(self, revision: str) -> EndedSpan | None:
        """The span that first pushed *revision* to a proxy."""
        return self._pushes.get(revision)
