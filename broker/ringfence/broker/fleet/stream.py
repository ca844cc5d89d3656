"""One discovery stream: its state machine, what waits to be sent, and the newest snapshot, which wins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from ringfence.broker.log import log
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Framed, frame
from ringfence.proto.status import Status
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest
from ringfence.xds.quarantine import Refusals
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.steps import Machine
from ringfence.xds.subscription import Nack

_WAITING = 64  # responses that wait for a slow reader before its requests wait too
_SHARED = 256  # framed responses kept for streams that are about to send the same

shared_frame: Callable[[bytes], Framed] = lru_cache(maxsize=_SHARED)(frame)


class Sender(Protocol):
    """The part of the lane's Call that a stream writes to."""

    done: bool

    def try_send(self, message: Framed) -> bool:
        """Send now, or False."""

    async def send(self, message: Framed) -> None:
        """Send, waiting for the reader."""

    def cut(self, status: Status) -> None:
        """End the call."""


class Stream:
    """Snapshots are made when the reader has room for them, so a slow reader skips the ones in between."""

    def __init__(
        self, call: Sender, machine: Machine, compiled: Callable[[], tuple[Snapshot, int]], sent: Callable[[Out], None]
    ) -> None:
        self._call = call
        self._machine = machine
        self._compiled = compiled
        self._sent = sent
        self._outbox: deque[Out] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._early: deque[SotwRequest | DeltaRequest] | None = deque()  # requests before the first snapshot
        self.dirty = True
        self.failure: RingfenceError | None = None  # why the newest snapshot could not be made
        self.snapshot = Snapshot({}, "")
        self.origin = ""  # what the newest snapshot comes from, which is said beside it

    def synced(self) -> bool:
        """Whether the proxy acknowledged the newest snapshot."""
        return not self.dirty and self.failure is None and not self._outbox and self._machine.holds(self.snapshot)

    def rests(self) -> bool:
        """Whether everything there is was sent, and the proxy said what it thinks of it."""
        return not self.dirty and not self._outbox and not self._machine.waits

    @property
    def nacks(self) -> dict[str, Nack]:
        """What the proxy refuses at present, by type."""
        return self._machine.nacks

    @property
    def refusals(self) -> Mapping[str, Refusals]:
        """What the next stream of the proxy is to know."""
        return self._machine.refusals()

    def told(self) -> list[tuple[str, Resource, str]]:
        """All that was sent and stays, with its type and what the proxy said of it; a proxy may have brought it."""
        return [(url, self._with_bytes(url, resource), said) for url, resource, said in self._machine.told()]

    @property
    def unknown(self) -> list[str]:
        """Types that the proxy asked for and that are not served."""
        return sorted(self._machine.unknown)

    def pump(self) -> None:
        """Send what there is, as far as the reader has room."""
        while self._draining is None and not self._call.done:
            while self._outbox:
                if not self._call.try_send(shared_frame(self._outbox[0].payload)):
                    self._draining = asyncio.get_running_loop().create_task(self._drain())
                    return
                self._sent(self._outbox.popleft())
            if not self.dirty:
                return
            self._renew()

    async def receive(self, request: SotwRequest | DeltaRequest) -> None:
        """Take a request; waits when the proxy asks and does not read."""
        if self._early is not None:
            self._keep(request)
            return
        self._outbox += self._machine.receive(request, self.snapshot)
        if self._outbox:
            self.pump()
        while self._draining is not None and len(self._outbox) > _WAITING:
            await asyncio.wait([self._draining])

    def _keep(self, request: SotwRequest | DeltaRequest) -> None:
        """Answer later: nothing is known yet, and to say so would mean that there is nothing."""
        if self._early is not None and len(self._early) < _WAITING:
            self._early.append(request)
            return
        raise RingfenceError(Kind.UNAVAILABLE, f"the snapshot is not made yet, and {_WAITING} requests wait for it")

    def cut(self, status: Status) -> None:
        """Send what there is, as far as the reader has room, and end it."""
        self.pump()
        self._call.cut(status)

    def close(self) -> None:
        """Stop sending."""
        if self._draining is not None:
            self._draining.cancel()

    def _with_bytes(self, url: str, resource: Resource) -> Resource:
        known = self.snapshot.named(url).get(resource.name)
        return known if known is not None and known.version == resource.version else resource

    def _renew(self) -> None:
        self.dirty = False
        try:
            self.snapshot, epoch = self._compiled()
        except RingfenceError as failure:
            self.failure = failure  # The proxy goes on with what it has.
        except Exception as error:  # noqa: BLE001  # one proxy's fault must not keep others from their snapshots
            log.error("snapshot not made", error=type(error).__name__, exc_info=error)
            self.failure = RingfenceError(Kind.UNAVAILABLE, "the snapshot could not be made; the server's log has why")
        else:
            self.failure = None
            self._outbox += self._machine.update(self.snapshot, epoch, self.origin)
            early, self._early = self._early, None
            for request in early or ():
                self._outbox += self._machine.receive(request, self.snapshot)

    async def _drain(self) -> None:
        try:
            with suppress(Status):  # the call has ended, and its handler knows
                while self._outbox:
                    await self._call.send(shared_frame(self._outbox[0].payload))
                    self._sent(self._outbox.popleft())
        finally:
            self._draining = None
        self.pump()
