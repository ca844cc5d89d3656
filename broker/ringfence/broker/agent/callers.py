"""Who is on the socket: attests the process behind a connection once, and knows when it has to be asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from ringfence.broker.agent import events
from ringfence.broker.agent.holders import Holders
from ringfence.broker.attest import procfs
from ringfence.broker.attest.launch import Launch, LaunchAttestor, Lineage
from ringfence.broker.attest.port import WorkloadAttestor
from ringfence.broker.attest.procfs import Process
from ringfence.broker.attest.together import ask_all
from ringfence.broker.status import status_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector
from ringfence.proto.lane import Connection
from ringfence.proto.status import Code, Status

if TYPE_CHECKING:
    from ringfence.broker.attest.k8s_pods import Pods

_KEY = "caller"  # in Connection.context
_ENDED = "the calling process has ended"


class Caller:
    """One attested process for the life of its connection: what was found of it, and who vouches for it now."""

    def __init__(
        self, process: Process, found: frozenset[Selector], wanted: frozenset[str], launches: LaunchAttestor
    ) -> None:
        self.process = process
        self.wanted = wanted  # the facts that were looked for
        self.outdated = False  # what was found may be true no more
        self._found = found
        self._launches = launches
        self._lineage: Lineage | None = None
        self._launch: Launch | None = None
        self.look_up()

    @property
    def selectors(self) -> frozenset[Selector]:
        """All that is true of it, the word of a launcher that still lives included."""
        return self._found if self._launch is None else self._found | self._launches.selectors_of(self._launch)

    def is_current(self, wanted: frozenset[str]) -> bool:
        """Whether what was found is all that is *wanted*, and still true for all that is known."""
        return not self.outdated and wanted <= self.wanted

    def may_be_of(self, launch: Launch) -> bool:
        """Whether *launch*, which came or went, can change what we are; True while nobody vouched for anybody."""
        if self._launch is launch or self._lineage is None:
            return True
        return self._launches.may_hold(launch, self.process, self._lineage)

    def look_up(self) -> None:
        """Ask again who vouches for it; raises what reading /proc raises."""
        self._launch = None
        if self._launches:
            self._lineage = self._launches.lineage_of(self.process)
            self._launch = self._launches.launch_of(self.process, self._lineage)

    def check(self) -> None:
        """Raise DENIED unless the process is still the one that was attested."""
        procfs.check(self.process)

    def lost_its_launcher(self) -> bool:
        """Whether the launcher that vouched has ended, or we were moved out of its cgroup; told once."""
        if self._launch is None or self._launches.holds(self._launch, self.process):
            return False
        self._launch = None
        return True


class Callers:
    """Attests on the first call of a connection; later calls of it get the same answer."""

    def __init__(
        self, attestors: Sequence[WorkloadAttestor], launches: LaunchAttestor, wanted: Callable[[], frozenset[str]]
    ) -> None:
        self.holders = Holders()
        self._attestors = attestors
        self._launches = launches
        self._wanted = wanted
        self._in_pods: WeakSet[Caller] | None = None  # None: no API tells of pods
        self._pod_changes = 0

    def follow(self, pods: Pods, then: Callable[[], None]) -> None:
        """Have those attested again in whose pod something changes; *then* is called after each change."""
        self._in_pods = WeakSet()

        def changed(uid: str) -> None:
            self._pod_changes += 1
            for caller in self._in_pods or ():
                caller.outdated = caller.outdated or Selector("k8s", f"pod-uid:{uid}") in caller.selectors
            then()

        pods.listen(changed)

    async def of(self, connection: Connection) -> Caller:
        """The caller; raises DENIED when its process is gone, UNAVAILABLE when no attestor could tell."""
        while True:
            known: Caller | asyncio.Event | None = connection.context.get(_KEY)
            if isinstance(known, Caller):
                if known.outdated:
                    known = connection.context[_KEY] = await self.again(known)
                return known
            if known is None:
                return await self._first(connection)
            await known.wait()  # another call of this connection is at it

    async def _first(self, connection: Connection) -> Caller:
        done = connection.context[_KEY] = asyncio.Event()
        caller: Caller | None = None
        try:
            caller = await self._attest(connection)
        finally:
            connection.context[_KEY] = caller
            done.set()
        return caller

    async def again(self, caller: Caller) -> Caller:
        """The same process, attested anew because other facts are wanted now."""
        caller.check()
        return await self.attest(caller.process)

    async def attest(self, process: Process) -> Caller:
        """What is true of *process*; raises UNAVAILABLE when no attestor could tell."""
        wanted, before = self._wanted(), self._pod_changes
        caller = Caller(process, await self._facts(process, wanted), wanted, self._launches)
        if self._in_pods is not None:
            self._in_pods.add(caller)
            caller.outdated = self._pod_changes != before  # one of them may have been about it
        return caller

    async def _attest(self, connection: Connection) -> Caller:
        peer = connection.peer
        # 1. Hold the process by the connection's pidfd, which is good until the last handler is through.
        process = procfs.hold(peer.pid, peer.uid, peer.gid, peer.pidfd)
        # The socket may live on in a child when it ends: it was not the child that was attested.
        connection.when_peer_ends(lambda: connection.cut(Status(Code.PERMISSION_DENIED, _ENDED)))
        # 2. Told when it becomes another one, so that its streams end at once, not with the next message.
        release = self.holders.hold(process, lambda error: connection.cut(status_of(error)))
        connection.closed.add_done_callback(lambda _: release())
        # 3. What is true of it. Whoever sends to it checks that it is still that process, before each message.
        caller = await self.attest(process)
        events.attested(process.held_by)
        return caller

    async def look_at(self, process: Process, wanted: frozenset[str]) -> tuple[Caller, Mapping[str, Exception]]:
        """What is true of *process*, which need not have called, and the attestors that could not tell."""
        found, failures = await ask_all(self._attestors, process, wanted)
        return Caller(process, found, wanted, self._launches), failures

    async def _facts(self, process: Process, wanted: frozenset[str]) -> frozenset[Selector]:
        found, failures = await ask_all(self._attestors, process, wanted)
        for name, error in failures.items():
            events.attestor_failed(name, error)
        if failures and not found:
            raise RingfenceError(Kind.UNAVAILABLE, "workload attestation failed")
        return found
