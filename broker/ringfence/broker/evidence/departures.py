"""What tried to leave the mesh, summed up: which workload asked for which host, how often, and what was decided."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ringfence.broker.evidence.record import EGRESS, Record

MOST = 5_000  # sums; the one that was longest not seen goes first


@dataclass(frozen=True, slots=True)
class Departure:
    """Times are in nanoseconds since the epoch, as proxies told them."""

    workload: str  # SPIFFE ID
    host: str  # as it was asked for: HOST or HOST:PORT, or NAMESPACE/NAME of an External
    allowed: bool
    rule: str  # id of the rule, or a named default
    count: int
    first_ns: int
    last_ns: int


class Departures:
    """Bounded sums of egress decisions; they outlive the single decisions, which the next thousands push out."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._sums: OrderedDict[tuple[str, str, bool, str], Departure] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._sums)

    def note(self, record: Record) -> None:
        """Count *record*, if it is about the way out."""
        if record.point != EGRESS:
            return
        key = (record.source, record.destination, record.allowed, record.rule)
        known = self._sums.get(key)
        if known is None:
            known = Departure(*key, count=0, first_ns=record.time_ns, last_ns=record.time_ns)
        first, last = min(known.first_ns, record.time_ns), max(known.last_ns, record.time_ns)
        self._sums[key] = replace(known, count=known.count + 1, first_ns=first, last_ns=last)
        self._sums.move_to_end(key)
        if len(self._sums) > self._most:
            self._sums.popitem(last=False)
            self.dropped += 1

    def listed(self, *, denied_only: bool = False) -> Iterator[Departure]:
        """Every sum, the one seen last first."""
        newest_first = sorted(self._sums.values(), key=lambda each: (-each.last_ns, each.workload, each.host))
        return (each for each in newest_first if not (denied_only and each.allowed))
