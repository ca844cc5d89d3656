"""All connected proxies under one model: a change is compiled for, and pushed to, those that it touches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.compiling import Compiler, Compiling, Counts
from ringfence.broker.fleet.endpoints import EndpointLog, Endpoints, Served
from ringfence.broker.fleet.offers import Offers
from ringfence.broker.fleet.progress import Progress
from ringfence.broker.fleet.proxy import NACK, Proxy
from ringfence.broker.fleet.readers import Readers
from ringfence.broker.fleet.remembered import Remembered
from ringfence.broker.fleet.scope import Scope, Scopes
from ringfence.broker.fleet.stream import Sender, Stream
from ringfence.broker.fleet.timekeeper import Timekeeper
from ringfence.broker.fleet.turns import Turns
from ringfence.broker.log import log
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.telemetry.names import PROXIES, PUSH, REVISION
from ringfence.broker.telemetry.spans import span
from ringfence.certs.revocation import Revocations
from ringfence.policy.callers import NOBODY, RevokedCaller
from ringfence.policy.model import Model
from ringfence.policy.revoked import callers, is_revoked, settled
from ringfence.proto.status import Code, Status
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.steps import Machine
from ringfence.xds.types import LISTENER


class Fleet:
    """Serves nobody before `restore` and the first `apply`; `run` keeps time and the endpoint log until cancelled."""

    def __init__(
        self,
        compiler: Compiler,
        endpoint_log: EndpointLog,
        *,
        clock: Callable[[], datetime],
        endpoints: Endpoints | None = None,
    ) -> None:
        self.counts = Counts()
        self._compiling = Compiling(compiler, clock, self.counts)
        self._clock = clock
        self._offers = Offers(endpoint_log, endpoints or Endpoints(), self._touch)
        self._proxies: set[Proxy] = set()
        self._remembered = Remembered()
        self._readers = Readers()
        self._epoch = 0
        self._trace = ""  # of the push of the model in force
        self._expiry: datetime | None = None
        self._time = Timekeeper(self.tick, clock)
        self._progress = Progress()
        self._turns = Turns(self._progress.announce)
        self._scopes: Scopes | None = None
        self._restored = False
        self._revoked: Mapping[str, RevokedCaller] = NOBODY
        self.tainted: frozenset[str] = frozenset()  # authorities that are in force as such

    @property
    def scopes(self) -> Scopes | None:
        """What callers are judged by; None while nothing may be served: no state before truth."""
        return self._scopes if self._restored else None

    @property
    def revision(self) -> str:
        """Of the model in force; empty before the first."""
        return self._scopes.model.revision if self._scopes is not None else ""

    @property
    def connected(self) -> AbstractSet[Proxy]:
        """Every stream of a proxy that is open."""
        return self._proxies

    def __len__(self) -> int:
        return len({(proxy.caller.spiffe_id, proxy.node) for proxy in self._proxies})

    async def restore(self) -> None:
        """Take in the endpoints that were kept, so that a restart tells no proxy that there are none."""
        await self._offers.restore(self._clock())
        self._restored = True

    async def run(self) -> None:
        """Apply what time brings, and keep endpoints in the log."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._time.run())
            tasks.create_task(self._offers.journal.run())

    def scope_of(self, key: str) -> Scope | None:
        """What a workload's proxies depend on."""
        return self._scopes.of(key) if self._scopes is not None else None

    def apply(self, model: Model) -> int:
        """Bring *model* into force; how many proxies it touches. They are compiled and pushed from the loop, next."""
        with span(PUSH, {REVISION: model.revision}) as push:
            self._trace = push.trace_id
            now = replace(model, revoked=self._revoked, tainted=self.tainted)
            scopes = self._scopes.after(now, self._clock()) if self._scopes is not None else Scopes(now, self._clock())
            touched = self._rescope(scopes)
            for proxy in touched:
                self._turns.renew(proxy.stream)
            self._time.look_again()
            self._progress.announce()
            push.set(PROXIES, len(touched))
        return len(touched)

    def revoke(self, revocations: Revocations) -> int:
        """Bring *revocations*, all that is revoked now, into force; how many proxies are touched or turned out."""
        before, self._revoked = self._revoked, settled(self._revoked, callers(revocations))
        if self._scopes is None or self._revoked == before:
            return 0
        # 1. The proxies of what is revoked: nobody is sent to them any more, and they hear no more from us.
        out = [
            proxy for proxy in self._proxies if is_revoked(self._revoked, proxy.caller.spiffe_id, proxy.caller.serial)
        ]
        for proxy in out:
            self._turn_out(proxy)
        # 2. Another proxy of the same node may hold a better certificate.
        gone = {proxy.node for proxy in out}
        for proxy in self._proxies:
            if proxy.offers and proxy.node in gone:
                self._offers.offer(proxy, joins=True)
        # 3. The proxies that judge such callers, or call such servers.
        return len(out) + self.apply(self._scopes.model)

    def hear(self, node: str, rows: Sequence[EndpointRow]) -> None:
        """Another server's proxy says *rows*; none: it is no other server's any more."""
        self._offers.hear(node, rows)

    def elsewhere(self) -> set[str]:
        """The proxies of other servers."""
        return self._offers.endpoints.elsewhere()

    def distrust(self, tainted: frozenset[str]) -> int:
        """End what is open in the whole mesh if *tainted*, key ids of authorities, has changed; how many it touches."""
        same, self.tainted = tainted == self.tainted, tainted
        return 0 if self._scopes is None or same else self.apply(self._scopes.model)

    def tick(self) -> datetime | None:
        """Apply what is due by the clock: ended rules, endpoints whose grace is over. When the next thing is due."""
        now = self._clock()
        if self._scopes is not None and self._expiry is not None and self._expiry <= now:
            self.apply(self._scopes.model)
        self._offers.lapse(now)
        return min(
            (due for due in (self._expiry, self._offers.endpoints.next_lapse()) if due is not None), default=None
        )

    def join(self, caller: Caller, instance: Instance, call: Sender, machine: Machine) -> Proxy:
        """Take a new stream in; its snapshot is made at once."""
        stream = Stream(call, machine, lambda: self._compile(proxy), self._sent)
        proxy = Proxy(caller, instance, stream, self.scope_of(caller.workload.key), self._clock())
        machine.resume(self._remembered.of(proxy.node))
        proxy.judge(machine.nacks, told=False)
        self._proxies.add(proxy)
        self._readers.follow(proxy)
        if not instance.proxyless:  # a library serves what it asks a listener for, which comes next
            self._offers.offer(proxy, joins=True)
        stream.pump()
        log.info("proxy connected", spiffe_id=str(caller.spiffe_id), node=instance.node_id)
        return proxy

    def leave(self, proxy: Proxy) -> None:
        """Its stream has ended."""
        proxy.stream.close()
        self._remembered.leave(proxy.node, proxy.stream.refusals)
        if proxy in self._proxies:  # else it was turned out, and nothing of it is left
            self._proxies.discard(proxy)
            self._readers.drop(proxy)
            self._offers.leave(proxy, self._clock())
            self._time.look_again()
            self._progress.announce()
        unknown = {"unknown_types": proxy.stream.unknown} if proxy.stream.unknown else {}
        log.info("proxy left", spiffe_id=str(proxy.caller.spiffe_id), node=proxy.instance.node_id, **unknown)

    async def depart(self, node: str, *, patience: float) -> int:
        """A proxy says goodbye: nobody is sent there from now on. How many proxies connected here may call it.

        Returns when they all hold that, but for those that refuse their configuration, or after *patience* seconds.
        """
        served = self._offers.endpoints.served_by(node)
        # 1. What it says itself ends; what was only kept of it is forgotten; what another server says, that one ends.
        ours = [proxy for proxy in self._proxies if proxy.node == node]
        self._offers.depart(node, ours)
        # 2. Whoever could have called it.
        calls = set(self._readers.of(served))
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._offers.endpoints.served_by(node):
                    await self._progress.step()
                await self._progress.until_synced(self._proxies, lambda: True, lambda p: p in calls and p.state != NACK)
        return len(calls)

    async def receive(self, proxy: Proxy, request: SotwRequest | DeltaRequest) -> None:
        """Let a proxy's request take effect."""
        if proxy.instance.proxyless and isinstance(request, SotwRequest) and request.type_url == LISTENER:
            self._offers.bind(proxy, frozenset(request.names), self._clock())
        await proxy.stream.receive(request)
        if request.error is not None:
            self.counts.nacks += 1
        elif request.nonce:
            self.counts.acks += 1
        else:
            return
        proxy.answered = self._clock()
        nacks = proxy.stream.nacks
        if nacks or proxy.refusal:
            proxy.judge(nacks, told=request.error is not None)
        if self._progress:
            self._progress.announce()

    def list_proxies(self) -> list[Any]:
        """A ProxyStatus for every stream, by identity and node."""
        for proxy in self._proxies:
            proxy.note_revision(self.revision)
        now = self._clock()
        rows = [proxy.status(now) for proxy in self._proxies]
        return sorted(rows, key=lambda row: (row.spiffe_id, row.node))

    async def step(self) -> None:
        """Until a proxy answered or left, endpoints changed, or another model came."""
        await self._progress.step()

    async def wait_synced(self, revision: str) -> bool:
        """Until every proxy holds what the model of *revision* means; False once another model is in force."""
        return await self._progress.until_synced(self._proxies, lambda: self.revision == revision)

    def _rescope(self, scopes: Scopes) -> list[Proxy]:
        """Put new scopes in force; the proxies whose scope differs."""
        for proxy in self._proxies:
            proxy.note_revision(self.revision)
        self._scopes = scopes
        self._expiry = scopes.next_expiry()
        self._epoch += 1
        before = {proxy: proxy.scope for proxy in self._proxies}
        touched = [proxy for proxy in before if proxy.rescope(scopes)]
        for proxy in touched:
            self._follow(proxy, before[proxy])
        return touched

    def _follow(self, proxy: Proxy, before: Scope | None) -> None:
        """Let others know what another scope than *before* means to them: what it reads, and where it is served."""
        now = proxy.scope
        if now is None:
            self._readers.follow(proxy)
            self._offers.forget(proxy.node)
            return
        if before is None or (before.upstreams, before.routed) != (now.upstreams, now.routed):
            self._readers.follow(proxy)
        if before is None or before.workload != now.workload or self._offers.endpoints.is_elsewhere(proxy.node):
            self._offers.offer_if_serving(proxy)

    def _turn_out(self, proxy: Proxy) -> None:
        """End the stream of a revoked proxy; one without any identity left is told first to let go of everything."""
        self._proxies.discard(proxy)
        self._readers.drop(proxy)
        self._offers.forget(proxy.node)
        if is_revoked(self._revoked, proxy.caller.spiffe_id):
            proxy.scope, proxy.stream.dirty = None, True
        proxy.stream.cut(Status(Code.PERMISSION_DENIED, f"{proxy.caller.spiffe_id} is revoked"))
        log.info("proxy turned out", spiffe_id=str(proxy.caller.spiffe_id), node=proxy.instance.node_id)

    def _touch(self, served: set[Served]) -> None:
        """Have everyone who holds endpoints of these ports get the present ones."""
        if served:
            self._epoch += 1
            for proxy in self._readers.of(served):
                self._turns.renew(proxy.stream)
            self._progress.announce()

    def _compile(self, proxy: Proxy) -> tuple[Snapshot, int]:
        proxy.stream.origin = self._trace
        return self._compiling.snapshot(proxy, self._offers.of, self.revision), self._epoch

    def _sent(self, _out: Out) -> None:
        self.counts.pushes += 1
