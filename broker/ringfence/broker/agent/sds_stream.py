"""Envoy's secret discovery service on the agent's socket: the state machines of xds, driven by watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from ringfence.broker.agent import events
from ringfence.broker.agent.connections import Connections
from ringfence.broker.agent.inet_diag import Address
from ringfence.broker.agent.secrets import ALL_BUNDLES, SPECIAL, Secrets, opted_out
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.broker.agent.watches import Watches
from ringfence.broker.agent.workload_api import has_some, has_svids
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto.lane import Call, Method
from ringfence.proto.status import Code, Status
from ringfence.xds.delta import DeltaStream
from ringfence.xds.dialect import SDS
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest, parse_delta, parse_sotw
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.subscription import EVERYTHING, Nack
from ringfence.xds.types import SECRET


class _Machine(Protocol):
    @property
    def nacks(self) -> dict[str, Nack]: ...

    def receive(self, request: Any, snapshot: Snapshot) -> list[Out]: ...

    def update(self, snapshot: Snapshot) -> list[Out]: ...


class SecretDiscovery:
    """StreamSecrets, DeltaSecrets and FetchSecrets. No security header: Envoy can't send one, the socket attests."""

    def __init__(self, watches: Watches, connections: Connections) -> None:
        self._watches = watches
        self._connections = connections
        self._secrets = Secrets()

    def methods(self) -> dict[str, Method]:
        """By name."""
        return {
            "StreamSecrets": Method(self._stream_secrets, parse_sotw),
            "DeltaSecrets": Method(self._delta_secrets, parse_delta),
            "FetchSecrets": Method(self._fetch_secrets, parse_sotw),
        }

    async def _stream_secrets(self, call: Call) -> None:
        await self._stream(call, SotwStream(SDS), _sotw_names)

    async def _delta_secrets(self, call: Call) -> None:
        await self._stream(call, DeltaStream(SDS), _delta_names)

    async def _fetch_secrets(self, call: Call) -> None:
        request: SotwRequest | None = await call.receive()
        if request is None:
            raise Status(Code.INVALID_ARGUMENT, "the request is missing")
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            names, plain = set(request.names), _opted_out(request)
            _refuse_impossible(names, plain=plain)
            view = await watch.first(
                lambda view: has_svids(view) and not _missing(names, self._secrets.of(view, plain=plain))
            )
        for out in SotwStream(SDS).receive(SotwRequest(SECRET, request.names), self._secrets.of(view, plain=plain)):
            await call.send(out.payload)

    async def _stream(self, call: Call, machine: _Machine, names_of: Callable[[set[str], Any], set[str]]) -> None:
        request = await call.receive()
        if request is None:
            raise Status(Code.INVALID_ARGUMENT, "the request is missing")
        uid, ports = call.connection.peer.uid, cut_ports(request)
        with (
            self._watches.open(await self._watches.of(call.connection)) as watch,
            self._connections.guard(uid, ports) if uid is not None else nullcontext(),
        ):
            stream = _Stream(call, machine, names_of, self._secrets, self._watches.hold)
            await stream.run(watch, request)


def cut_ports(request: Any) -> list[Address]:
    """Where the proxy that asks does not drain for whoever is revoked, since we cut them there.

    Read from its node as the server reads it: who is not understood there is served no configuration.
    """
    if request.node is None:
        return []
    try:
        told = Instance.parse(request.node.id, request.node.metadata)
    except RingfenceError:
        return []
    return [address for name, address in sorted(told.inbound.items()) if name in told.cuts]


class _Stream:
    """One stream: whichever comes first, a request or a changed view, is taken to the state machine."""

    def __init__(
        self,
        call: Call,
        machine: _Machine,
        names_of: Callable[[set[str], Any], set[str]],
        secrets: Secrets,
        hold: float,
    ) -> None:
        self._call = call
        self._machine = machine
        self._names_of = names_of
        self._secrets = secrets
        self._hold = hold
        self._names: set[str] = set()
        self._given: set[str] = set()  # names that were there once
        self._deadline: float | None = None  # by which the missing ones have to come
        self._nack: Nack | None = None
        self._plain = False  # the node of the first request says it

    async def run(self, watch: Watch, request: Any) -> None:
        """Until the caller leaves or may have nothing more; ends by Status."""
        views = watch.views(has_svids, lambda view: view.key, has_some)
        self._plain = _opted_out(request)
        _refuse_impossible(self._names_of(set(), request), plain=self._plain)
        snapshot = self._secrets.of(await anext(views), plain=self._plain)
        await self._receive(request, snapshot)
        next_request = asyncio.ensure_future(self._call.receive())
        next_view = asyncio.ensure_future(_next(views))
        try:
            while True:
                self._check_missing(snapshot)
                done, _ = await asyncio.wait(
                    (next_request, next_view), timeout=self._left(), return_when=asyncio.FIRST_COMPLETED
                )
                if next_view in done:
                    snapshot = self._secrets.of(next_view.result(), plain=self._plain)
                    next_view = asyncio.ensure_future(_next(views))
                    await self._send(self._machine.update(snapshot))
                if next_request in done:
                    request = next_request.result()
                    if request is None:
                        return
                    next_request = asyncio.ensure_future(self._call.receive())
                    await self._receive(request, snapshot)
        finally:
            for waiting in (next_request, next_view):
                waiting.cancel()
            await asyncio.gather(next_request, next_view, return_exceptions=True)

    async def _receive(self, request: Any, snapshot: Snapshot) -> None:
        self._names = self._names_of(self._names, request)
        _refuse_impossible(self._names, plain=self._plain)
        outs = self._machine.receive(request, snapshot)
        nack = self._machine.nacks.get(SECRET)
        if nack is not None and nack is not self._nack:
            events.nacked(",".join(sorted(nack.names)), nack.detail)
        self._nack = nack
        await self._send(outs)

    async def _send(self, outs: Sequence[Out]) -> None:
        for out in outs:
            await self._call.send(out.payload)

    def _check_missing(self, snapshot: Snapshot) -> None:
        """Wait for names that may come; end for those that were withdrawn, or did not come in time."""
        missing = _missing(self._names, snapshot)
        if missing & self._given:
            raise Status(Code.PERMISSION_DENIED, f"the identity was withdrawn: {_list(missing & self._given)}")
        self._given = self._names - missing
        if not missing:
            self._deadline = None
            return
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._hold
        elif now >= self._deadline:
            raise _unauthorized(missing)

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        return max(self._deadline - asyncio.get_running_loop().time(), 0)


async def _next(views: Any) -> View:
    view: View = await anext(views)
    return view


def _sotw_names(_names: set[str], request: SotwRequest) -> set[str]:
    return set(request.names)


def _delta_names(names: set[str], request: DeltaRequest) -> set[str]:
    return (names | set(request.subscribe)) - set(request.unsubscribe)


def _missing(names: set[str], snapshot: Snapshot) -> set[str]:
    return names - {EVERYTHING} - snapshot.named(SECRET).keys()


def _opted_out(request: SotwRequest | DeltaRequest) -> bool:
    return request.node is not None and opted_out(request.node.metadata)


def _refuse_impossible(names: set[str], *, plain: bool) -> None:
    """Refuse at once what no entry could ever bring."""
    if plain and ALL_BUNDLES in names:
        raise Status(Code.INVALID_ARGUMENT, f"{ALL_BUNDLES} needs the SPIFFE validator, which this proxy opted out of")
    never = {name for name in names - SPECIAL - {EVERYTHING} if not _is_id(name)}
    if never:
        raise _unauthorized(never)


def _is_id(name: str) -> bool:
    try:
        SpiffeId.parse(name)
    except RingfenceError:
        return False
    return True


def _unauthorized(names: set[str]) -> Status:
    return Status(Code.INVALID_ARGUMENT, f"workload is not authorized for the requested identities [{_list(names)}]")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
