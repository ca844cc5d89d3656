"""The Fabrics service on the admin socket: a workload takes part in a job on a fabric while its stream lives."""

from __future__ import annotations

import os
import re

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.agent.callers import Caller
from ringfence.broker.agent.fabrics import fabric_events
from ringfence.broker.agent.fabrics.admission import Admission
from ringfence.broker.agent.fabrics.joins import Join
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.ports import check_ports
from ringfence.broker.agent.fabrics.status import shown
from ringfence.broker.agent.watches import Watches
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Code, Status

_KEY = re.compile(r"[a-z0-9-]{1,63}/[A-Za-z0-9._-]{1,63}")


class FabricsApi:
    """Join and ShowFabrics."""

    def __init__(self, watches: Watches, keeper: FabricKeeper) -> None:
        self._watches = watches
        self._keeper = keeper

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        return methods_of(service_of(admin_pb2, "Fabrics"), {"Join": self._join, "ShowFabrics": self._show})

    async def _join(self, call: Call) -> None:
        # 1. What is asked for can be.
        request: admin_pb2.JoinFabricRequest | None = await call.receive()
        if request is None or not _KEY.fullmatch(request.fabric) or not _KEY.fullmatch(request.job):
            raise Status(Code.INVALID_ARGUMENT, "fabric must be NAMESPACE/NAME, and job NAMESPACE/JOB")
        # 2. The process that called, held by its pidfd: the stream ends with it, and with its identity.
        caller = await self._watches.of(call.connection)
        caller.look_up()  # a launcher may have been let on this very connection, since it was attested
        # 3. It closes no port of somebody else.
        await check_ports(request.closed_ports, caller.process.uid)
        # 4. It is in while the server says so, and out in the moment in which this ends, however it does.
        with self._watches.open(caller) as watch:
            join = Join(request.fabric, request.job, frozenset(request.closed_ports), watch)
            self._keeper.enter(join)
            why = "its stream ended"
            try:
                await self._follow(call, caller, join)
            except (Status, RingfenceError) as error:
                why = str(error)
                raise
            finally:
                self._keeper.leave(join)
                fabric_events.left(join.fabric, join.job, caller.process.pid, why)

    async def _follow(self, call: Call, caller: Caller, join: Join) -> None:
        admission = Admission(self._keeper, join)
        views = join.watch.views(admission.ready, admission.shown, enough=lambda _: True)
        async for view in views:
            if not admission.ready(view):
                raise self._watches.refusal(view) if not view.entries else admission.missing(view)
            if not join.until and join.entry is not None:
                fabric_events.joined(join.fabric, join.job, join.entry.spiffe_id, caller.process.pid)
            answer = admission.answer()
            join.until = answer.until
            await call.send(answer)

    async def _show(self, call: Call) -> None:
        await call.receive()
        if call.connection.peer.uid not in {0, os.geteuid()}:
            hint = "Be root, or the agent's user"
            raise RingfenceError(Kind.DENIED, "what a node holds of fabrics is not for every user", hint=hint)
        await call.send(shown(self._keeper))
