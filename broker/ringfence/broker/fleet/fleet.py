"""All connected proxies under one model: a change is compiled for, and pushed to, those that it touches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from ringfence.broker.fleet.caller import Caller
from ringfence.broker.fleet.endpoints import EndpointLog, Endpoints, Served, rows_of
from ringfence.broker.fleet.journal import Journal
from ringfence.broker.fleet.proxy import SYNCED, Proxy
from ringfence.broker.fleet.refusal import in_words
from ringfence.broker.fleet.scope import Scope, Scopes
from ringfence.broker.fleet.stream import Machine, Sender, Stream
from ringfence.broker.fleet.turns import Turns
from ringfence.broker.log import log
from ringfence.broker.store.endpoints import EndpointRow
from ringfence.broker.telemetry.names import COMPILE, NODE, PROXIES, PUSH, REVISION, SPIFFE_ID
from ringfence.broker.telemetry.spans import span
from ringfence.certs.revocation import Revocations
from ringfence.policy.model import NOBODY, Model, RevokedCaller, Workload
from ringfence.policy.revoked import callers, is_revoked, settled
from ringfence.proto.status import Code, Status
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.subscription import Nack
from ringfence.xds.types import LISTENER

_RETRY = timedelta(seconds=1)
_LONGEST_SLEEP = 30.0  # seconds: a clock that was set is noticed by then


class Compiler(Protocol):
    """`ringfence.xds.compile.compile_snapshot` with the facts of this server bound."""

    def __call__(
        self,
        model: Model,
        workload: Workload,
        instance: Instance,
        endpoints: Mapping[Served, tuple[Endpoint, ...]],
        /,
        *,
        now: datetime,
    ) -> Snapshot:
        """What one proxy is to hold; raises RingfenceError."""


@dataclass(slots=True)
class Counts:
    """What happened since the start, for whoever exports it."""

    compiles: int = 0
    pushes: int = 0
    acks: int = 0
    nacks: int = 0


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
        self._compiler = compiler
        self._clock = clock
        self._endpoints = endpoints or Endpoints()
        self._journal = Journal(endpoint_log)
        self._proxies: set[Proxy] = set()
        self._turns = Turns()
        self._epoch = 0
        self._expiry: datetime | None = None
        self._due = asyncio.Event()
        self._progress: set[asyncio.Future[None]] = set()
        self._scopes: Scopes | None = None
        self._restored = False
        self._revoked: Mapping[str, RevokedCaller] = NOBODY
        self.tainted: frozenset[str] = frozenset()  # authorities that are in force as such
        self.counts = Counts()

    @property
    def scopes(self) -> Scopes | None:
        """What callers are judged by; None while nothing may be served: no state before truth."""
        return self._scopes if self._restored else None

    @property
    def revision(self) -> str:
        """Of the model in force; empty before the first."""
        return self._scopes.model.revision if self._scopes is not None else ""

    def __len__(self) -> int:
        return len({(proxy.caller.spiffe_id, proxy.node) for proxy in self._proxies})

    async def restore(self) -> None:
        """Take in the endpoints that were kept, so that a restart tells no proxy that there are none."""
        self._endpoints.restore(await self._journal.load(), self._clock())
        self._restored = True

    async def run(self) -> None:
        """Apply what time brings, and keep endpoints in the log."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_time())
            tasks.create_task(self._journal.run())

    def scope_of(self, key: str) -> Scope | None:
        """What a workload's proxies depend on."""
        return self._scopes.of(key) if self._scopes is not None else None

    def apply(self, model: Model) -> int:
        """Bring *model* into force; how many proxies it touches. They are compiled and pushed from the loop, next."""
        with span(PUSH, {REVISION: model.revision}) as push:
            now = replace(model, revoked=self._revoked, tainted=self.tainted)
            touched = self._rescope(Scopes(now, self._clock()))
            for proxy in touched:
                self._turns.renew(proxy.stream)
            self._due.set()
            self._announce()
            push.set(PROXIES, len(touched))
        return len(touched)

    def revoke(self, revocations: Revocations) -> int:
        """Bring *revocations*, all that is revoked now, into force; how many proxies are touched or turned out."""
        before, self._revoked = self._revoked, settled(self._revoked, callers(revocations))
        if self._scopes is None or self._revoked == before:
            return 0
        # 1. The proxies of what is revoked: nobody is sent to them any more, and they hear no more from us.
        out = [proxy for proxy in self._proxies if self._is_revoked(proxy.caller)]
        for proxy in out:
            self._turn_out(proxy)
        # 2. Another proxy of the same node may hold a better certificate.
        for proxy in self._proxies:
            if proxy.offers and proxy.node in {gone.node for gone in out}:
                self._offer(proxy, joins=True)
        # 3. The proxies that judge such callers, or call such servers.
        return len(out) + self.apply(self._scopes.model)

    def hear(self, node: str, rows: Sequence[EndpointRow]) -> None:
        """Another server's proxy says *rows*; none: it is no other server's any more."""
        addresses = {row.port: (row.host, row.number) for row in rows}
        self._touch(self._endpoints.hear(node, rows[0].key, addresses) if rows else self._endpoints.lose(node))

    def elsewhere(self) -> set[str]:
        """The proxies of other servers."""
        return self._endpoints.elsewhere()

    def distrust(self, tainted: frozenset[str]) -> int:
        """End what is open in the whole mesh if *tainted*, key ids of authorities, has changed; how many it touches."""
        same, self.tainted = tainted == self.tainted, tainted
        return 0 if self._scopes is None or same else self.apply(self._scopes.model)

    def tick(self) -> datetime | None:
        """Apply what is due by the clock: ended rules, endpoints whose grace is over. When the next thing is due."""
        now = self._clock()
        if self._scopes is not None and self._expiry is not None and self._expiry <= now:
            self.apply(self._scopes.model)
        for node in self._endpoints.lapsed(now):
            self._forget(node)
        return min((due for due in (self._expiry, self._endpoints.next_lapse()) if due is not None), default=None)

    def join(self, caller: Caller, instance: Instance, call: Sender, machine: Machine) -> Proxy:
        """Take a new stream in; its snapshot is made at once."""
        stream = Stream(call, machine, lambda: self._compile(proxy), self._sent)
        proxy = Proxy(caller, instance, stream, self.scope_of(caller.workload.key))
        self._proxies.add(proxy)
        if not instance.proxyless:  # a library serves what it asks a listener for, which comes next
            self._offer(proxy, joins=True)
        stream.pump()
        log.info("proxy connected", spiffe_id=str(caller.spiffe_id), node=instance.node_id)
        return proxy

    def leave(self, proxy: Proxy) -> None:
        """Its stream has ended."""
        proxy.stream.close()
        if proxy in self._proxies:  # else it was turned out, and nothing of it is left
            self._proxies.discard(proxy)
            if proxy.offers:
                self._endpoints.leave(proxy.node, self._clock())
            self._due.set()
            self._announce()
        unknown = {"unknown_types": proxy.stream.unknown} if proxy.stream.unknown else {}
        log.info("proxy left", spiffe_id=str(proxy.caller.spiffe_id), node=proxy.instance.node_id, **unknown)

    async def receive(self, proxy: Proxy, request: SotwRequest | DeltaRequest) -> None:
        """Let a proxy's request take effect."""
        if proxy.instance.proxyless and isinstance(request, SotwRequest) and request.type_url == LISTENER:
            self._bind(proxy, frozenset(request.names))
        await proxy.stream.receive(request)
        if request.error is not None:
            self.counts.nacks += 1
        elif request.nonce:
            self.counts.acks += 1
        else:
            return
        nacks = proxy.stream.nacks
        if nacks or proxy.refusal:
            self._judge(proxy, nacks, told=request.error is not None)
        if self._progress:
            self._announce()

    def list_proxies(self) -> list[Any]:
        """A ProxyStatus for every stream, by identity and node."""
        for proxy in self._proxies:
            self._note_revision(proxy)
        now = self._clock()
        rows = [proxy.status(now) for proxy in self._proxies]
        return sorted(rows, key=lambda row: (row.spiffe_id, row.node))

    async def wait_synced(self, revision: str) -> bool:
        """Until every proxy holds what the model of *revision* means; False once another model is in force."""
        while self.revision == revision:
            late = [proxy for proxy in self._proxies if proxy.state != SYNCED]
            if not late:
                return True
            # One look a step at one proxy, not at all of them: a thousand ACKs are a thousand steps.
            while late and self.revision == revision:
                if late[-1].state == SYNCED or late[-1] not in self._proxies:
                    late.pop()
                else:
                    await self._step()
        return False

    async def _step(self) -> None:
        """Until a proxy answered or left, or another model came."""
        step = asyncio.get_running_loop().create_future()
        self._progress.add(step)
        try:
            await step
        finally:
            self._progress.discard(step)

    def _rescope(self, scopes: Scopes) -> list[Proxy]:
        """Put new scopes in force; the proxies whose scope differs."""
        for proxy in self._proxies:
            self._note_revision(proxy)
        self._scopes = scopes
        self._expiry = scopes.next_expiry()
        self._epoch += 1
        touched = []
        for proxy in self._proxies:
            before, proxy.scope = proxy.scope, scopes.of(proxy.caller.workload.key)
            if proxy.scope != before:
                touched.append(proxy)
        for proxy in touched:
            if proxy.scope is None:
                self._forget(proxy.node)
            else:
                self._offer_if_serving(proxy)
        return touched

    def _offer(self, proxy: Proxy, *, joins: bool) -> None:
        """Let others have the ports of a connected proxy, and remember them."""
        proxy.offers = True
        key, addresses = proxy.caller.workload.key, proxy.inbound
        change = self._endpoints.join if joins else self._endpoints.amend
        comes = self._endpoints.is_elsewhere(proxy.node)  # its server is gone, or it has left that one
        changed = change(proxy.node, key, addresses)
        if changed or comes:
            self._journal.put(proxy.node, rows_of(proxy.node, key, addresses))
        self._touch(changed)

    def _bind(self, proxy: Proxy, listeners: frozenset[str]) -> None:
        """Take in which listeners a gRPC library asks for: with those of its servers it says that they are bound.

        A process has a stream of its own for its servers, and one for each target: only the first offers anything.
        """
        proxy.listeners = listeners
        if not proxy.offers and proxy.inbound and (lost := proxy.losses(self._clock())):
            log.warning("gRPC cannot say all", spiffe_id=str(proxy.caller.spiffe_id), losses=list(map(str, lost)))
        self._offer_if_serving(proxy)

    def _offer_if_serving(self, proxy: Proxy) -> None:
        if proxy.offers or proxy.inbound:
            self._offer(proxy, joins=not proxy.offers)

    def _is_revoked(self, caller: Caller) -> bool:
        return is_revoked(self._revoked, caller.spiffe_id, caller.serial)

    def _turn_out(self, proxy: Proxy) -> None:
        """End the stream of a revoked proxy; one without any identity left is told first to let go of everything."""
        self._proxies.discard(proxy)
        self._forget(proxy.node)
        if is_revoked(self._revoked, proxy.caller.spiffe_id):
            proxy.scope, proxy.stream.dirty = None, True
        proxy.stream.cut(Status(Code.PERMISSION_DENIED, f"{proxy.caller.spiffe_id} is revoked"))
        log.info("proxy turned out", spiffe_id=str(proxy.caller.spiffe_id), node=proxy.instance.node_id)

    def _forget(self, node: str) -> None:
        self._journal.remove(node)
        self._touch(self._endpoints.forget(node))

    def _touch(self, served: set[Served]) -> None:
        """Have everyone who holds endpoints of these ports get the present ones."""
        if served:
            self._epoch += 1
            for proxy in self._proxies:
                if not served.isdisjoint(proxy.reads):
                    self._turns.renew(proxy.stream)

    def _compile(self, proxy: Proxy) -> tuple[Snapshot, int]:
        scope = proxy.scope
        if scope is None:  # The workload is gone from the intent: nothing is its to serve or reach.
            return Snapshot({}, self.revision), self._epoch
        endpoints = {served: self._endpoints.of(*served) for served in proxy.reads}
        self.counts.compiles += 1
        with span(COMPILE, {SPIFFE_ID: str(scope.workload.spiffe_id), NODE: proxy.instance.node_id}):
            made = self._compiler(scope.model, scope.workload, proxy.instance, endpoints, now=self._clock())
        return made, self._epoch

    def _sent(self, _out: Out) -> None:
        self.counts.pushes += 1

    def _note_revision(self, proxy: Proxy) -> None:
        if proxy.state == SYNCED:
            proxy.revision = self.revision

    def _judge(self, proxy: Proxy, nacks: Mapping[str, Nack], *, told: bool) -> None:
        proxy.refusal = "; ".join(in_words(nack, proxy.scope) for nack in nacks.values())
        if told and proxy.refusal:
            spiffe_id = str(proxy.caller.spiffe_id)
            log.warning("proxy refuses", spiffe_id=spiffe_id, node=proxy.instance.node_id, detail=proxy.refusal)

    def _announce(self) -> None:
        for step in self._progress:
            if not step.done():
                step.set_result(None)

    async def _keep_time(self) -> None:
        while True:
            self._due.clear()
            try:
                due = self.tick()
            except Exception as error:  # noqa: BLE001  # rules must go on ending on time: it is tried again
                log.error("tick failed", error=type(error).__name__, exc_info=error)
                due = self._clock() + _RETRY
            wait = (due - self._clock()).total_seconds() if due is not None else _LONGEST_SLEEP
            try:
                async with asyncio.timeout(min(max(wait, 0.0), _LONGEST_SLEEP)):
                    await self._due.wait()
            except TimeoutError:
                continue
