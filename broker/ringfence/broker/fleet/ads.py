"""The aggregated discovery service, Describe and Leave, as methods of the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ringfence.broker.fleet.caller import Caller, RevokedError, check_claim, identify, identify_again
from ringfence.broker.fleet.describe import describe
from ringfence.broker.fleet.door import Door
from ringfence.broker.fleet.farewell import let_go
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.proxy import node_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Code, Status
from ringfence.proxy.v1 import proxy_pb2
from ringfence.xds import dialect
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import Node, parse_delta, parse_sotw
from ringfence.xds.instance import Instance
from ringfence.xds.locality import Locality
from ringfence.xds.sotw import SotwStream
from ringfence.xds.steps import Machine, Stepwise

_FAREWELL = 2.0  # seconds that a leaving proxy waits for callers that do not answer
_STREAMS = object()  # under which a connection counts its own
MOST_STREAMS = 256  # of one connection: a proxy has one, a gRPC library one for each target that it calls
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_WHOLE, _DELTA = f"{ADS}StreamAggregatedResources", f"{ADS}DeltaAggregatedResources"
DISCOVERY = frozenset({_WHOLE, _DELTA})  # by path


class ProxyApi:
    """What proxies and their launchers call, with their own SVIDs."""

    def __init__(self, fleet: Fleet, clock: Callable[[], datetime], door: Door | None = None) -> None:
        self._fleet = fleet
        self._clock = clock
        self._door = door or Door()

    def methods(self) -> dict[str, Method]:
        """By path; each demands a client certificate."""
        return {
            _WHOLE: Method(self.stream, parse_sotw, peer_certificate=True),
            _DELTA: Method(self.delta, parse_delta, peer_certificate=True),
        } | methods_of(
            service_of(proxy_pb2, "Proxy"), {"Describe": self.describe, "Leave": self.leave}, peer_certificate=True
        )

    async def stream(self, call: Call) -> None:
        """State of the world, in the dialect of who asks."""
        await self._serve(call, _whole)

    async def delta(self, call: Call) -> None:
        """Incremental, for proxies only: gRPC libraries do not speak it."""
        await self._serve(call, _incremental)

    async def describe(self, call: Call) -> None:
        """What the caller's proxy is to be built for."""
        caller = self._caller(call)
        if await call.receive() is None:
            raise RingfenceError(Kind.INVALID, "the call holds no request")
        scope = self._fleet.scope_of(caller.workload.key)
        if scope is not None:  # identify found it in the same turn of the loop, or the intent has just changed
            await call.send(describe(scope, caller.spiffe_id, self._fleet.revision))
            return
        raise RingfenceError(Kind.DENIED, f"the intent has no workload {caller.spiffe_id}")

    async def leave(self, call: Call) -> None:
        """A proxy of the caller says goodbye."""
        caller = self._caller(call)
        request = await call.receive()
        if request is None or not request.node:
            raise RingfenceError(Kind.INVALID, "the call names no node")
        callers = await self._fleet.depart(node_of(caller.who, request.node), patience=_FAREWELL)
        await call.send(proxy_pb2.LeaveResponse(callers=callers))

    def _workloads(self) -> Container[str]:
        return self._fleet.scopes.model.workloads if self._fleet.scopes is not None else ()

    def _caller(self, call: Call) -> Caller:
        return identify(call.peer.certificate, self._fleet.scopes, self._clock())

    async def _serve(self, call: Call, machine_for: Callable[[Node], Machine]) -> None:
        with _one_of_few(call.connection.context):
            await self._stream(call, machine_for)

    async def _stream(self, call: Call, machine_for: Callable[[Node], Machine]) -> None:
        request: Any = None
        try:
            # 1. Who the connection proves it is; what is refused is refused before anything is read.
            caller = self._caller(call)
            # 2. Who the node says it is must not be somebody else.
            request = await call.receive()
            if request is None:
                return
            if request.node is None:
                raise RingfenceError(Kind.INVALID, "the first request on a stream names its node")
            check_claim(request.node, caller, self._workloads())
            instance = _instance(request.node)
            machine = machine_for(request.node)
            # 3. Many that come at once come in one by one.
            await self._door.enter()
            # 4. The model may have changed while we waited for that.
            caller = identify_again(caller, self._fleet.scopes, self._clock())
        except RevokedError:
            # It was not there when its identity was revoked, and would serve on with what it has.
            await let_go(call, machine_for, request)
            raise
        # 5. The connection ends with the SVID that opened it.
        left = (caller.not_after - self._clock()).total_seconds()
        end = asyncio.get_running_loop().call_later(left, call.connection.cut, _expired())
        proxy = self._fleet.join(caller, instance, call, machine)
        try:
            while request is not None:
                await self._fleet.receive(proxy, request)
                request = await call.receive()
        finally:
            end.cancel()
            self._fleet.leave(proxy)


@contextmanager
def _one_of_few(context: dict[Any, Any]) -> Iterator[None]:
    """Count a stream of the connection whose context that is; raises EXHAUSTED for one too many."""
    if context.get(_STREAMS, 0) >= MOST_STREAMS:
        raise RingfenceError(Kind.EXHAUSTED, f"a connection may have {MOST_STREAMS} discovery streams, not more")
    context[_STREAMS] = context.get(_STREAMS, 0) + 1
    try:
        yield
    finally:
        context[_STREAMS] -= 1


def _instance(node: Node) -> Instance:
    locality = Locality.parse(node.region, node.zone)
    return Instance.parse(node.id, node.metadata, proxyless=node.is_grpc, locality=locality)


def _whole(node: Node) -> Machine:
    # A gRPC library asks for clusters only when it has the routes to them, and waits for them itself.
    return SotwStream(dialect.GRPC) if node.is_grpc else Stepwise(SotwStream(dialect.ADS))


def _incremental(node: Node) -> Machine:
    if node.is_grpc:
        raise RingfenceError(Kind.INVALID, "gRPC libraries are served state of the world only")
    return Stepwise(DeltaStream())


def _expired() -> Status:
    return Status(Code.UNAVAILABLE, "the SVID of this connection has expired; connect again with the new one")
