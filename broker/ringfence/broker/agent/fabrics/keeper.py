"""Keeps the node's fabrics as the server says and as live workloads need them, one step after the other.

A step is done in a thread, with the newest of what is known when it begins. Whoever waits for it is told when it is
done; what has come meanwhile makes the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent import events
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.fabrics import fabric_events
from ringfence.broker.agent.fabrics.changes import NodeChanges
from ringfence.broker.agent.fabrics.holding import Jobs
from ringfence.broker.agent.fabrics.joins import Join, Joins
from ringfence.broker.agent.fabrics.said import Said
from ringfence.broker.agent.fabrics.work import Done, Step, Work
from ringfence.broker.status import code_of
from ringfence.certs.errors import Kind, RingfenceError

GRACE = 5.0  # seconds after a restart in which workloads come back, before those that have not are given up
_RETRY = 5.0  # seconds after what failed
_LOOK, _LOOK_UNTOLD = 60.0, 2.0  # seconds between looks at the node; where the kernel tells nothing of changes
_CALM = 0.03  # seconds that changes of the node may go on before they are looked at: they come in bursts


class Wire(Protocol):
    """The stream to the server, as far as it is used here."""

    def tell(self, message: pb.AgentMessage) -> bool:
        """Send *message* if the stream stands; whether it does."""
        ...


class Changes(Protocol):
    """What tells of changes of the node, until it is closed."""

    def close(self) -> None:
        """Tell no more."""
        ...


class FabricKeeper:
    """Used in the event loop. `run` goes on beside what serves."""

    def __init__(
        self,
        work: Work,
        wire: Wire,
        clock: Callable[[], float],
        *,
        grace: float = GRACE,
        listen: Callable[[Callable[[], None]], Changes] = NodeChanges,
    ) -> None:
        self.said = Said()
        self.done = Done()
        self.joins = Joins()
        self.updates = 0  # that came from the server since the start
        self.clock = clock
        self._work = work
        self._wire = wire
        self._grace = grace
        self._listen = listen
        self._told = pb.FabricsUpdate()
        self._wake = asyncio.Event()
        self._pressing = asyncio.Event()  # members come or go
        self._look = True
        self._look_every = _LOOK
        self._claimed: tuple[pb.FabricClaim, ...] | None = None  # on this stream; None: nothing was said yet
        self._heard = False  # an update on this stream: numbers of another one mean nothing on it
        self._answered: pb.FabricApplied | None = None
        self._inherited: frozenset[int] = frozenset()  # ports that were closed before the agent was started
        self._returning = 0.0  # until then (loop's time) workloads of before the restart may come back

    # What comes in

    async def restore(self) -> None:
        """Know again what was known before; what cannot be read is told of, and comes from the server."""
        for step in (self._restore_ports, self._restore_told):
            try:
                await step()
            except RingfenceError as error:
                fabric_events.not_restored(error)
        if self._inherited or any(job.members for state in self._told.fabrics for job in state.jobs):
            self._returning = asyncio.get_running_loop().time() + self._grace

    async def _restore_ports(self) -> None:
        self._inherited = await asyncio.to_thread(self._work.restore_ports)

    async def _restore_told(self) -> None:
        self._told = await asyncio.to_thread(self._work.restore_told)
        self.said = Said.parse(self._told)

    def on_update(self, update: pb.FabricsUpdate) -> None:
        """The server said what there is now, whole."""
        self._told, self.said, self._answered = update, Said.parse(update), None
        self.updates += 1
        self._heard = True
        fabric_events.said(update.revision, tuple(self.said.fabrics), len(update.refusals))
        self.joins.wake()  # whose grant is gone ends now, and not when the node has been changed
        self._press()

    def on_connected(self) -> None:
        """A stream to the server stands: nothing was said on it yet."""
        self._claimed = self._answered = None
        self._heard = False
        self._wake.set()

    def on_node_changed(self) -> None:
        """Interfaces, addresses or routes are not what they were."""
        self._look = True
        self._wake.set()

    def enter(self, join: Join) -> None:
        """A workload wants to take part."""
        self.joins.add(join)

    def claim(self, join: Join, entry: Entry | None) -> None:
        """It takes part by *entry*, or no more."""
        if (join.entry and join.entry.id) != (entry and entry.id):
            join.claimed_after = self.updates
            self._press()
        join.entry = entry

    def leave(self, join: Join) -> None:
        """Its stream has ended."""
        self.joins.discard(join)
        self._press()

    def _press(self) -> None:
        self._pressing.set()
        self._wake.set()

    # What goes on

    async def run(self) -> None:
        """Step after step, until cancelled."""
        changes = None
        try:
            changes = self._listen(self.on_node_changed)
        except OSError as error:
            self._look_every = _LOOK_UNTOLD
            fabric_events.node_changes_untold(error)
        try:
            while True:
                self._wake.clear()
                step, heard = self._step(), self._heard
                done = await self._do(step)
                self._publish(done)
                if heard:
                    self._answer(step.said.revision, done.error)
                await self._next()
        finally:
            if changes is not None:
                changes.close()

    async def _do(self, step: Step) -> Done:
        """Have it done; one that is cancelled ends first, so that no other agent is at it beside us."""
        doing = asyncio.ensure_future(asyncio.to_thread(self._work.do, step))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await asyncio.wait((doing,))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not be the last step
            await asyncio.to_thread(events.failed, error)  # it reads the lines that failed from their files
            failure = RingfenceError(Kind.UNAVAILABLE, f"an unexpected {type(error).__name__}", hint="See its log")
            return replace(self.done, failures=(failure,), not_kept=None)

    def _step(self) -> Step:
        look = self._look and not self._pressing.is_set()
        if self._look and not look:
            self._wake.set()  # right after what may not wait for it
        self._look = self._look and not look
        self._pressing.clear()
        ports = self.joins.ports | (self._inherited if self._is_returning else frozenset())
        return Step(self._told, self.said, self._jobs(), ports, look)

    def _jobs(self) -> dict[str, Jobs]:
        """The members of each job: all that the server says where a workload of ours takes part, nobody elsewhere."""
        now, joined, returning = self.clock(), self.joins.jobs, self._is_returning
        nobody: Mapping[str, int] = MappingProxyType({})
        return {
            key: {
                job.key: {address: until for address, until in job.members.items() if now < until}
                if returning or (key, job.key) in joined
                else nobody
                for job in one.jobs.values()
                if now < job.expires_at
            }
            for key, one in self.said.fabrics.items()
        }

    def _publish(self, done: Done) -> None:
        before, self.done = self.done, done
        if done.shown != before.shown:
            self.joins.wake()
            fabric_events.changed(before, done)
        if done.not_kept is not None:
            events.not_kept(done.not_kept)
        self._claim()

    def _answer(self, revision: int, error: RingfenceError | None) -> None:
        """Say what the node holds now, once for each update and again when it is another answer."""
        code, detail = (int(code_of(error.kind)), str(error)) if error is not None else (0, "")
        answer = pb.FabricApplied(revision=revision, code=code, detail=detail)
        if answer != self._answered and self._wire.tell(pb.AgentMessage(fabric_applied=answer)):
            self._answered = answer

    def _claim(self) -> None:
        """Say who takes part; not while those of before a restart may come back, who would be given up by it."""
        claims = self.joins.claims(self.done.held)
        if self._is_returning or claims == self._claimed:
            return
        if self._wire.tell(pb.AgentMessage(fabric_claims=pb.FabricClaims(claims=claims))):
            self._claimed = claims

    async def _next(self) -> None:
        """Until something has come, or the time of something; bursts of changes of the node are one.

        Members do not wait for that, nor for a look at the node.
        """
        try:
            async with asyncio.timeout(self._patience()):
                await self._wake.wait()
        except TimeoutError:
            self._look = True  # seldom, or after what failed
        if self._look:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CALM):
                    await self._pressing.wait()

    def _patience(self) -> float:
        """Seconds until something changes by the clock alone."""
        now, loop_now = self.clock(), asyncio.get_running_loop().time()
        ends = [job.expires_at for one in self.said.fabrics.values() for job in one.jobs.values()]
        ends += [join.until for join in self.joins]
        waits = [end - now for end in ends if end > now]
        if self._is_returning:
            waits.append(self._returning - loop_now)
        if self.done.error is not None:
            waits.append(_RETRY)
        return max(min([self._look_every, *waits]), 0.001)

    @property
    def _is_returning(self) -> bool:
        return asyncio.get_running_loop().time() < self._returning
