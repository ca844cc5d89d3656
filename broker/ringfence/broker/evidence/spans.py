"""The last spans, ours and the proxies', by trace and by the revision that they carry: what `explain` links to."""

from __future__ import annotations

from collections import deque

from ringfence.broker.telemetry.names import PUSH, REVISION
from ringfence.broker.telemetry.spans import EndedSpan

CAPACITY = 10_000


class SpanStore:
    """Keeps the last *capacity* spans, and of every revision the span that first pushed it."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._spans: deque[EndedSpan] = deque(maxlen=capacity)
        self._pushes: dict[str, EndedSpan] = {}
        self._capacity = capacity
        self.added = 0

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: EndedSpan) -> None:
        """Keep *span*."""
        self._spans.append(span)
        self.added += 1
        revision = span.attributes.get(REVISION)
        if span.name == PUSH and revision and revision not in self._pushes:
            if len(self._pushes) >= self._capacity:
                del self._pushes[next(iter(self._pushes))]
            self._pushes[revision] = span

    def of_trace(self, trace_id: str) -> tuple[EndedSpan, ...]:
        """The kept spans of a trace, in the order in which they came."""
        return tuple(span for span in self._spans if span.trace_id == trace_id)

    def push_of(self, revision: str) -> EndedSpan | None:
        """The span that first pushed *revision* to a proxy."""
        return self._pushes.get(revision)
