"""Who takes part in a job on a fabric from this node, for as long as their streams live, and what is claimed by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fabrics.holding import Held
from ringfence.broker.agent.watch import Watch


@dataclass(slots=True, eq=False)
class Join:
    """One stream of a workload."""

    fabric: str  # NAMESPACE/NAME
    job: str  # NAMESPACE/JOB
    ports: frozenset[int]  # that are to be closed meanwhile
    watch: Watch
    entry: Entry | None = None  # by which it takes part: it is claimed
    claimed_after: int = 0  # updates that had come when that was claimed first: those say nothing of it
    until: int = 0  # Unix seconds: of the membership that it was told of last; 0: of none yet

    @property
    def key(self) -> tuple[str, str, str, str]:
        """As the server names what is claimed by it; of none that is claimed, nothing that it names."""
        entry = self.entry
        return self.fabric, self.job, str(entry.spiffe_id) if entry else "", entry.id if entry else ""


class Joins:
    """All of them."""

    def __init__(self) -> None:
        self._open: set[Join] = set()

    def __iter__(self) -> Iterator[Join]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, join: Join) -> None:
        """Its stream is open."""
        self._open.add(join)

    def discard(self, join: Join) -> None:
        """It has ended."""
        self._open.discard(join)

    def wake(self) -> None:
        """Have each look at what changed."""
        for join in tuple(self._open):
            join.watch.mark()
            join.watch.wake()

    @property
    def ports(self) -> frozenset[int]:
        """All that one of them wants to be closed that takes part in a job: nobody else closes any."""
        return frozenset(port for join in self._open if join.entry is not None for port in join.ports)

    @property
    def jobs(self) -> frozenset[tuple[str, str]]:
        """Each fabric and job that somebody takes part in."""
        return frozenset((join.fabric, join.job) for join in self._open if join.entry is not None)

    def claims(self, held: Mapping[str, Held]) -> tuple[pb.FabricClaim, ...]:
        """What is claimed, by *held*: a node that has no address on the fabric now claims nothing there."""
        keys = sorted({join.key for join in self._open if join.entry is not None})
        return tuple(
            pb.FabricClaim(fabric=fabric, job=job, spiffe_id=spiffe_id, entry_id=entry_id, addresses=addresses)
            for fabric, job, spiffe_id, entry_id in keys
            if (addresses := sorted(held[fabric].addresses if fabric in held else ()))
        )
