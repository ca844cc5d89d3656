"""The launch attestor: whom a registered launcher vouches for, by its cgroup or else by the parents of its processes.

Made for what interpreters defeat: every Python job has the same path and hash, but each has its own launcher. Where the
launcher has a cgroup of its own, who is in it is of the launch. Where none could be made, whoever's parents lead to the
launcher is: it is a child subreaper (prctl(2)), so setsid and a double fork don't lead out of its tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.broker.attest import process_trees, procfs
from ringfence.broker.attest.launch_folder import LaunchFolder
from ringfence.broker.attest.procfs import Process
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector


@dataclass(frozen=True, slots=True)
class Launch:
    """A launcher that was authorised to vouch for its tree as one workload."""

    namespace: str
    name: str
    launcher: Process
    folder: LaunchFolder | None = None  # None: it goes by parents
    rank: int | None = None  # in the job that the workload is

    @property
    def selectors(self) -> frozenset[Selector]:
        """What it says of its tree."""
        said = {"namespace": self.namespace, "name": self.name} | ({} if self.rank is None else {"rank": self.rank})
        return frozenset(Selector("launch", f"{fact}:{value}") for fact, value in said.items())


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a process belongs, as read once."""

    cgroup: str  # cgroup v2, seen from our namespace
    parents: tuple[tuple[int, int], ...] | None  # ancestors; None: not read, since no launch goes by them


class LaunchAttestor:
    """Gives `launch:namespace:NS`, `launch:name:N`, in a job `launch:rank:R`, to all of a launch and its launcher."""

    name = "launch"

    def __init__(self) -> None:
        self._launches: dict[tuple[int, int], Launch] = {}
        self._by_folder: dict[str, Launch] = {}
        self._changed: Callable[[Launch], None] = lambda _: None

    def __bool__(self) -> bool:
        return bool(self._launches)

    def on_change(self, changed: Callable[[Launch], None]) -> None:
        """Call *changed* after each registration and each release."""
        self._changed = changed

    def refuse_second(self, launcher: Process) -> None:
        """Raise CONFLICT when *launcher* vouches already."""
        if launcher.key in self._launches:
            raise RingfenceError(
                Kind.CONFLICT,
                f"process {launcher.pid} vouches for a workload already",
                hint="Start another `ringfence run` for another workload",
            )

    def register(self, launch: Launch) -> None:
        """Vouch from now on, until `release`; raises CONFLICT when the launcher vouches already."""
        self.refuse_second(launch.launcher)
        self._launches[launch.launcher.key] = launch
        if launch.folder:
            self._by_folder[launch.folder.path] = launch
        self._changed(launch)

    def release(self, launch: Launch) -> None:
        """Stop vouching; twice is once."""
        if self._launches.get(launch.launcher.key) is launch:
            del self._launches[launch.launcher.key]
            if launch.folder:
                del self._by_folder[launch.folder.path]
            self._changed(launch)

    def lineage_of(self, process: Process) -> Lineage:
        """Where *process* belongs; raises what procfs raises. Parents are read only when a launch goes by them."""
        by_parents = len(self._by_folder) < len(self._launches)
        cgroup = process_trees.unified_cgroup(process.pid)
        return Lineage(cgroup, process_trees.ancestors(process.pid) if by_parents else None)

    def launch_of(self, process: Process, lineage: Lineage) -> Launch | None:
        """The innermost launch that *process* is of, or None."""
        # 1. The innermost folder that it is in. A folder stands for its launch alone: a process that somebody with
        #    the right to it moved out is out, wherever its parents lead.
        by_folder = self._folder_above(lineage.cgroup)
        # 2. The nearest launcher among its parents, by pid and start time, of those that have no folder.
        links = (self._launches.get(link) for link in lineage.parents or ())
        by_parents = next((launch for launch in links if launch and not launch.folder), None)
        # 3. Of two, the one that was launched inside the other.
        launch = by_folder or by_parents
        if by_folder and by_parents and self.holds(by_folder, by_parents.launcher):
            launch = by_parents
        # 4. Its launcher lives, and the process is the same as before the reading, in the same folder.
        return launch if launch and self.holds(launch, process) and procfs.is_alive(process) else None

    def may_hold(self, launch: Launch, process: Process, lineage: Lineage) -> bool:
        """Whether *launch*, which came or went, can change what *process* is; True when that was not read."""
        if launch.folder:  # of the processes that are there already, only the launcher is moved into it
            return launch.launcher.key == process.key or launch.folder.holds(lineage.cgroup)
        return lineage.parents is None or launch.launcher.key in lineage.parents

    def holds(self, launch: Launch, process: Process) -> bool:
        """Whether *launch* still vouches, and *process* was not moved out of its folder."""
        if not self.vouches(launch):
            return False
        if not launch.folder:
            return True  # nothing leads out of a subreaper's tree
        try:
            return launch.folder.holds(process_trees.unified_cgroup(process.pid)) and launch.folder.is_there()
        except OSError:
            return False

    def vouches(self, launch: Launch) -> bool:
        """Whether *launch* is registered and its launcher lives: what it vouched for ends with it."""
        return self._launches.get(launch.launcher.key) is launch and procfs.is_alive(launch.launcher)

    def selectors_of(self, launch: Launch | None) -> frozenset[Selector]:
        """The selectors that *launch* gives, none without one."""
        if launch is None or not self.vouches(launch):
            return frozenset()
        return launch.selectors

    async def attest(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:  # noqa: ARG002  # the port's signature
        """The launch selectors of *process*, none when nobody vouches for it."""
        if not self._launches:
            return frozenset()
        return self.selectors_of(self.launch_of(process, self.lineage_of(process)))

    def _folder_above(self, cgroup: str) -> Launch | None:
        """Found by the path, so for any number of launches in the same time."""
        while cgroup and self._by_folder:
            if launch := self._by_folder.get(cgroup):
                return launch
            cgroup = cgroup.rpartition("/")[0]
        return None
