"""A stream whose routes wait until the clusters that they lead to can take requests: make before break, in two steps.

Envoy answers 503 for a route to a cluster that is still warming, and a cluster warms until its endpoints have come,
which it asks for when it has the cluster: what is sent in the right order still arrives a round trip too early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ringfence.xds.discovery import Out
from ringfence.xds.quarantine import Refusals
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.subscription import Nack
from ringfence.xds.types import CLUSTER, ENDPOINT, ROUTE


class Machine(Protocol):
    """`SotwStream` or `DeltaStream`."""

    unknown: set[str]

    @property
    def nacks(self) -> dict[str, Nack]:
        """What is refused at present, by type."""

    @property
    def waits(self) -> bool:
        """Whether something that was sent has no answer yet."""

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether all of it was acknowledged."""

    def told(self) -> list[tuple[str, Resource, str]]:
        """What was sent and stays, with its type and what the client said of it."""

    def refusals(self) -> Mapping[str, Refusals]:
        """What the next stream of the client is to know."""

    def resume(self, before: Mapping[str, Refusals]) -> None:
        """Know that of an earlier stream."""

    def receive(self, request: Any, snapshot: Snapshot) -> list[Out]:
        """The answers to a request."""

    def update(self, snapshot: Snapshot, epoch: int | None = None, origin: str = "") -> list[Out]:
        """What a new snapshot makes it send."""


def first_step(held: Snapshot, wanted: Snapshot, *, settled: bool) -> Snapshot | None:
    """*wanted* with the routes of *held* and the clusters of both; None where one step is enough.

    It is two only where a route changes, and a cluster is new or (not *settled*) may be. Policies never wait.
    """
    before, after = held.named(ROUTE), wanted.named(ROUTE)
    changed = {name: old for name, old in before.items() if name in after and after[name].version != old.version}
    if not changed or (settled and wanted.named(CLUSTER).keys() <= held.named(CLUSTER).keys()):
        return None
    both = {url: {**held.named(url), **wanted.named(url)} for url in (CLUSTER, ENDPOINT)}
    merged = {**wanted.resources, **both, ROUTE: {**after, **changed}}
    return Snapshot(
        {url: dict(sorted(named.items())) for url, named in sorted(merged.items())},
        wanted.revision,
    )


class Stepwise:
    """*machine*, told of a snapshot in two steps where that is needed; the second follows the ACKs of the first.

    What is newer replaces what waits, and a client that refuses something is sent all there is at once.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.unknown = machine.unknown
        self._told = Snapshot({}, "")
        self._next: tuple[Snapshot, int | None, str] | None = None

    @property
    def nacks(self) -> dict[str, Nack]:
        """What is refused at present, by type."""
        return self._machine.nacks

    @property
    def waits(self) -> bool:
        """Whether something has no answer yet, or was not sent yet."""
        return self._next is not None or self._machine.waits

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether all of it was acknowledged."""
        return self._next is None and self._machine.holds(snapshot)

    def told(self) -> list[tuple[str, Resource, str]]:
        """What was sent and stays, with its type and what the client said of it."""
        return self._machine.told()

    def refusals(self) -> Mapping[str, Refusals]:
        """What the next stream of the client is to know."""
        return self._machine.refusals()

    def resume(self, before: Mapping[str, Refusals]) -> None:
        """Know that of an earlier stream."""
        self._machine.resume(before)

    def receive(self, request: Any, snapshot: Snapshot) -> list[Out]:  # noqa: ARG002  # the client is a step behind it
        """The answers to a request, and the second step when it was the last ACK of the first."""
        return self._machine.receive(request, self._told) + self._follow()

    def update(self, snapshot: Snapshot, epoch: int | None = None, origin: str = "") -> list[Out]:
        """What a new snapshot makes it send now."""
        first = self._first_step(snapshot)
        self._next = (snapshot, epoch, origin) if first is not None else None
        self._told = first or snapshot
        return self._machine.update(self._told, epoch, origin) + self._follow()

    def _first_step(self, snapshot: Snapshot) -> Snapshot | None:
        if self._told.type_version(ROUTE) == snapshot.type_version(ROUTE):
            return None  # most changes: nothing of them is looked at
        return first_step(self._told, snapshot, settled=self._machine.holds(self._told))

    def _follow(self) -> list[Out]:
        if self._next is None or not (self._machine.nacks or self._machine.holds(self._told)):
            return []
        (snapshot, epoch, origin), self._next = self._next, None
        self._told = snapshot
        return self._machine.update(snapshot, epoch, origin)
