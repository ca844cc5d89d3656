"""One step of the keeper in a thread of its own: record what the server said, then have the node hold it. Blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.fabrics.holding import Held, Holding, Jobs
from ringfence.broker.agent.fabrics.said import Said
from ringfence.broker.agent.storage import DataFolder, KeptFabrics
from ringfence.certs.errors import RingfenceError
from ringfence.policy.fabrics import Fabric

_NOTHING: Mapping[str, Held] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Step:
    """What the node is to hold; `told` is recorded first, unless it is what was recorded last."""

    told: pb.FabricsUpdate
    said: Said
    jobs: Mapping[str, Jobs]  # by fabric: those that may be members now
    ports: frozenset[int]  # to be closed
    look: bool  # the node may have changed


@dataclass(frozen=True, slots=True)
class Done:
    """What the node holds after a step, and what failed in it."""

    held: Mapping[str, Held] = field(default_factory=lambda: _NOTHING)  # by fabric
    closed: frozenset[int] = frozenset()
    removed: tuple[str, ...] = ()
    failures: tuple[RingfenceError, ...] = ()  # that are of no fabric
    not_kept: OSError | None = None

    @property
    def error(self) -> RingfenceError | None:
        """The first of all that failed."""
        errors = (*(one.error for one in self.held.values()), *self.failures)
        return next((error for error in errors if error is not None), None)

    @property
    def shown(self) -> object:
        """Equal while nothing is other than before, the same failures included."""
        held = {key: one.shown for key, one in self.held.items()}
        return held, self.closed, self.removed, tuple(map(str, self.failures))


class OnNode(Protocol):
    """What changes the node, as Holding."""

    def look(self) -> None:
        """See what the node is like now; raises what ip(8) does."""
        ...

    def settle(self, fabric: Fabric, jobs: Jobs, now: float, others: Iterable[Fabric]) -> Held:
        """Have it hold a fabric, from *now* on in Unix seconds, beside *others*."""
        ...

    def only_fewer(self, key: str, now: float, error: RingfenceError) -> Held:
        """Have it hold nobody as a member of a fabric that cannot be, as *error* says."""
        ...

    def remove(self, key: str) -> None:
        """Take a fabric away; raises what nft does."""
        ...

    def close_ports(self, ports: frozenset[int]) -> None:
        """Close these and no others; raises what nft does."""
        ...

    def closed_ports(self) -> frozenset[int]:
        """Those that are closed; raises what nft does."""
        ...


class Work:
    """The thread's side. Used by one thread at a time, as the holding."""

    def __init__(self, folder: DataFolder, clock: Callable[[], float], holding: OnNode | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._holding: OnNode = holding or Holding()
        self._keys: frozenset[str] = frozenset()  # fabrics of which the node may have something by us
        self._recorded = b""
        self._closed: frozenset[int] = frozenset()

    def restore_ports(self) -> frozenset[int]:
        """The ports that were closed when the agent was started; raises what nft does."""
        self._look_at_ports()
        return self._closed

    def restore_told(self) -> pb.FabricsUpdate:
        """What the server had said before the agent was started; raises INVALID where that cannot be read."""
        kept = self._folder.load_fabrics()
        self._keys, self._recorded = kept.keys, kept.update
        return pb.FabricsUpdate.FromString(kept.update)

    def do(self, step: Step) -> Done:
        """Take *step*; it raises nothing, since one fabric must not keep others from being closed."""
        failures: list[RingfenceError] = []
        # 1. On the disk before anything changes: whoever is taken out now is not let in again by a restart.
        not_kept = self._record(step.told.SerializeToString(), self._keys | step.said.fabrics.keys())
        # 2. What the node is like.
        if step.look:
            self._try(failures, self._holding.look)
            self._try(failures, self._look_at_ports)
        # 3. What is to go, and what is to be.
        removed = self._remove(failures, self._keys - step.said.fabrics.keys() - step.said.wrong.keys())
        now = self._clock()
        held = {key: self._holding.only_fewer(key, now, error) for key, error in step.said.wrong.items()}
        every = [one.fabric for one in step.said.fabrics.values()]
        for fabric in every:
            held[fabric.key] = self._holding.settle(fabric, step.jobs.get(fabric.key, {}), now, every)
        # 4. Ports.
        if step.ports != self._closed:
            self._try(failures, self._close, step.ports)
        if removed:
            not_kept = self._record(self._recorded, self._keys - set(removed)) or not_kept
        return Done(held, self._closed, removed, tuple(failures), not_kept)

    def _remove(self, failures: list[RingfenceError], keys: frozenset[str]) -> tuple[str, ...]:
        return tuple(key for key in sorted(keys) if self._try(failures, self._holding.remove, key))

    def _look_at_ports(self) -> None:
        """Somebody may have opened them."""
        self._closed = self._holding.closed_ports()

    def _close(self, ports: frozenset[int]) -> None:
        self._holding.close_ports(ports)
        self._closed = ports

    def _record(self, update: bytes, keys: frozenset[str]) -> OSError | None:
        """A disk that fails keeps nobody from being taken out."""
        if (update, keys) == (self._recorded, self._keys):
            return None
        self._recorded, self._keys = update, keys
        try:
            self._folder.save_fabrics(KeptFabrics(update, keys))
        except OSError as error:
            return error
        return None

    @staticmethod
    def _try(failures: list[RingfenceError], action: Callable[..., None], *arguments: object) -> bool:
        try:
            action(*arguments)
        except RingfenceError as error:
            failures.append(error)
            return False
        return True
