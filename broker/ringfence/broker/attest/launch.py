"""The launch attestor: whom a registered launcher vouches for, by the parent chain of its process tree.

Made for what interpreters defeat: every Python job has the same path and hash, but each has its own launcher. The
launcher is a child subreaper (prctl(2)), so setsid and a double fork don't lead out of its tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringfence.broker.attest import procfs
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector


@dataclass(frozen=True, slots=True)
class Launch:
    """A launcher that was authorised to vouch for its tree as one workload."""

    namespace: str
    name: str
    launcher: Process


class LaunchAttestor:
    """Gives `launch:namespace:NS` and `launch:name:N` to every process below a launcher, and to the launcher."""

    name = "launch"

    def __init__(self) -> None:
        self._launches: dict[tuple[int, int], Launch] = {}
        self._changed: Callable[[Launch], None] = lambda _: None

    def __bool__(self) -> bool:
        return bool(self._launches)

    def on_change(self, changed: Callable[[Launch], None]) -> None:
        """Call *changed* after each registration and each release."""
        self._changed = changed

    def register(self, launch: Launch) -> None:
        """Vouch from now on, until `release`; raises CONFLICT when the launcher vouches already."""
        if self._launches.setdefault(launch.launcher.key, launch) is not launch:
            raise RingfenceError(
                Kind.CONFLICT,
                f"process {launch.launcher.pid} vouches for a workload already",
                hint="Start another `ringfence run` for another workload",
            )
        self._changed(launch)

    def release(self, launch: Launch) -> None:
        """Stop vouching; twice is once."""
        if self._launches.get(launch.launcher.key) is launch:
            del self._launches[launch.launcher.key]
            self._changed(launch)

    def launch_of(self, process: Process, chain: Sequence[tuple[int, int]]) -> Launch | None:
        """The nearest launch above *process*, whose parents are *chain* (procfs.ancestors), or None."""
        # 1. A registered launcher with that pid and that start time.
        launch = next((self._launches[link] for link in chain if link in self._launches), None)
        # 2. It still lives, and the process was not replaced while the chain was read.
        if launch is None or not self.vouches(launch) or not procfs.is_alive(process):
            return None
        return launch

    def vouches(self, launch: Launch) -> bool:
        """Whether *launch* is registered and its launcher lives: what it vouched for ends with it."""
        return self._launches.get(launch.launcher.key) is launch and procfs.is_alive(launch.launcher)

    def selectors_of(self, launch: Launch | None) -> frozenset[Selector]:
        """The selectors that *launch* gives, none without one."""
        if launch is None or not self.vouches(launch):
            return frozenset()
        return frozenset(
            {Selector("launch", f"namespace:{launch.namespace}"), Selector("launch", f"name:{launch.name}")}
        )

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:  # noqa: ARG002  # the port's signature
        """The launch selectors of *process*, none when nobody vouches for it."""
        if not self._launches:
            return frozenset()
        return self.selectors_of(self.launch_of(process, procfs.ancestors(process.pid)))
