"""How a workload ends without losing a request: its callers are sent elsewhere first, then what is under way ends."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import grpc.aio

from ringfence.broker.run.admin import ask
from ringfence.broker.run.identity import Identity, fetch_identity
from ringfence.broker.run.plan import ProxyPlan
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SERVER_NAME
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from ringfence.proxy.v1 import proxy_pb2

_PATIENCE = 3.0  # seconds for identity and servers; a server answers within two
_SETTLING = 0.2  # seconds from a caller's ACK until its workers route by it
_POLL = 0.02
_CLOSE = "/drain_listeners?inboundonly&graceful"  # answers from now on carry `Connection: close`
_ACTIVE = r"^http\.inbound/.*\.downstream_rq_active$"
_FIGURE = re.compile(r"^http\.inbound/.*: ([0-9]+)$", re.MULTILINE)


class Farewell:
    """Of one run: `drain` before the workload is told to end, `say` whenever it has ended. Neither raises.

    A run that serves nothing has nobody to take leave of. *admin* is the proxy's admin socket, if there is a proxy.
    """

    def __init__(self, plan: ProxyPlan, admin: Path | None, *, drain: float) -> None:
        self._plan = plan
        self._admin = str(admin) if admin is not None else ""
        self._drain = drain
        self._said = not plan.inbound

    async def drain(self) -> None:
        """Leave, then wait for the requests under way, as long as the run may drain.

        Connections that are not HTTP have no requests: they end with the workload.
        """
        if self._said:
            return
        # 1. Callers hear of it while everything still works.
        if await self._leave():
            await asyncio.sleep(_SETTLING)
        # 2. Who has no proxy of ours hears it with its next answer, and what is under way ends.
        if self._admin:
            await asyncio.to_thread(ask, self._admin, _CLOSE, "POST")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain):
                    while await asyncio.to_thread(self._active):  # noqa: ASYNC110  # Envoy tells nobody
                        await asyncio.sleep(_POLL)

    async def say(self) -> None:
        """Leave, if that was not done: callers need not find out by themselves."""
        if not self._said:
            await self._leave()

    async def _leave(self) -> int:
        """Say goodbye to every server; how many proxies may have called us."""
        plan = self._plan
        try:
            async with asyncio.timeout(_PATIENCE):
                identity = await fetch_identity(plan.launch.workload_socket, plan.who, patience=_PATIENCE)
                servers = (plan.launch.server, *plan.launch.others)
                callers = await asyncio.gather(*(_leave(server, identity, plan.node_id) for server in servers))
        except (RingfenceError, TimeoutError):
            return 0  # No agent or no server: callers find out as they do when a host dies.
        self._said = True
        return sum(callers)

    def _active(self) -> int:
        return sum(map(int, _FIGURE.findall(ask(self._admin, f"/stats?filter={_ACTIVE}"))))


async def _leave(server: str, identity: Identity, node: str) -> int:
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(server, identity.credentials(), options=options) as channel:
        try:
            answer = await Client(channel, service_of(proxy_pb2, "Proxy")).Leave(proxy_pb2.LeaveRequest(node=node))
        except grpc.aio.AioRpcError:
            return 0  # It is away, or older than this call.
    callers: int = answer.callers
    return callers
