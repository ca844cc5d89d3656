"""The Launcher service on the admin socket: who may vouch for which workload, for how long, and over what tree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent import events
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Caller, Callers
from ringfence.broker.agent.connections import cuts_for
from ringfence.broker.agent.entries import LaunchRule
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.attest.launch import Launch, LaunchAttestor
from ringfence.broker.version import VERSION
from ringfence.certs.selectors import MAX_RANK
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Code, Status
from ringfence.xds.locality import NOWHERE, Locality


class Launcher:
    """Launch and Info. A launch lives as long as its stream, and its stream no longer than its process."""

    def __init__(
        self,
        cache: Cache,
        callers: Callers,
        launches: LaunchAttestor,
        folders: LaunchFolders,
        *,
        servers: Callable[[], Sequence[Address]],
        socket: Path,
        hold: float,
        locality: Locality = NOWHERE,
    ) -> None:
        self._cache = cache
        self._callers = callers
        self._launches = launches
        self._folders = folders
        self._servers = servers
        self._socket = socket
        self._hold = hold
        self._locality = locality
        self._ruled = asyncio.Event()
        self._registering = asyncio.Lock()

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        return methods_of(service_of(admin_pb2, "Launcher"), {"Launch": self._launch, "Info": self._info})

    def rules_changed(self) -> None:
        """Launch rules came or went."""
        self._ruled.set()

    async def _launch(self, call: Call) -> None:
        request: admin_pb2.LaunchRequest | None = await call.receive()
        if request is None or not request.namespace or not request.name:
            raise Status(Code.INVALID_ARGUMENT, "namespace and name must be set")
        # 1. The process that called, held by its pidfd.
        caller = await self._callers.of(call.connection)
        # 2. The intent has a rule for this workload that names this caller; nothing else allows a launch.
        rule = await self._rule(request.namespace, request.name)
        if not self._cache.book.wanted <= caller.wanted:
            caller = await self._callers.again(caller)
        if rule is None or not rule.allows(caller.selectors):
            raise Status(Code.PERMISSION_DENIED, _denial(request, rule))
        # 3. Of a job it says which rank it starts, and of anything else none.
        if (wrong := _wrong_rank(request, rule)) is not None:
            raise wrong
        # 4. Still the same process, then it vouches until its stream or its life ends.
        launch = await self._register(caller, request)
        try:
            await call.send(self._accepted(rule, cuts=await asyncio.to_thread(cuts_for, caller.process.pid)))
            while self._still_allowed(launch, rule, caller.selectors):
                self._ruled.clear()
                await self._ruled.wait()
            raise Status(Code.PERMISSION_DENIED, _denial(request, None))
        finally:
            self._launches.release(launch)
            events.launch_ended(launch.namespace, launch.name, launch.launcher.pid)

    async def _register(self, caller: Caller, request: admin_pb2.LaunchRequest) -> Launch:
        namespace, name = request.namespace, request.name
        rank = request.rank if request.HasField("rank") else None
        async with self._registering:
            self._launches.refuse_second(caller.process)
            caller.check()
            folder, why = await self._folders.enter(caller.process, namespace, name)
            caller.check()  # moving took milliseconds
            launch = Launch(namespace, name, caller.process, folder, rank)
            self._launches.register(launch)
        events.launched(launch, why)
        return launch

    async def _rule(self, namespace: str, name: str) -> LaunchRule | None:
        """The rule, waited for: `apply` and `run` may be two lines of one script."""
        try:
            async with asyncio.timeout(self._hold):
                while (rule := self._cache.book.rule(namespace, name)) is None:
                    self._ruled.clear()
                    await self._ruled.wait()
        except TimeoutError:
            return None
        return rule

    def _still_allowed(self, launch: Launch, by: LaunchRule, selectors: frozenset[object]) -> bool:
        rule = self._cache.book.rule(launch.namespace, launch.name)
        return rule is not None and rule.job == by.job and rule.allows(selectors)  # type: ignore[arg-type]

    def _accepted(self, rule: LaunchRule, *, cuts: bool) -> admin_pb2.LaunchResponse:
        servers = [str(address) for address in self._servers()]
        return admin_pb2.LaunchResponse(
            server=servers[0],
            servers=servers,
            trust_domain=self._cache.bundles.own.trust_domain.name,
            workload_socket=str(self._socket),
            cuts=cuts,
            job=rule.job,
            **self._locality.fields(),
        )

    async def _info(self, call: Call) -> None:
        await call.receive()
        await call.send(
            admin_pb2.InfoResponse(
                version=VERSION,
                trust_domain=self._cache.bundles.own.trust_domain.name,
                revision=self._cache.book.revision,
                ready=not self._cache.unready,
                entries=len(self._cache.book),
                detail=self._cache.unready,
            )
        )


def _wrong_rank(request: admin_pb2.LaunchRequest, rule: LaunchRule) -> Status | None:
    who = f"{request.namespace}/{request.name}"
    if not rule.job:
        what = f"{who} is no job: give its Workload a spec.job, or leave --rank out"
        return Status(Code.INVALID_ARGUMENT, what) if request.HasField("rank") else None
    if not request.HasField("rank"):
        return Status(Code.INVALID_ARGUMENT, f"{who} is the job {rule.job}: say which rank this is with --rank")
    if request.rank > MAX_RANK:
        return Status(Code.INVALID_ARGUMENT, f"{request.rank} is no rank: from 0 to {MAX_RANK}")
    return None


def _denial(request: admin_pb2.LaunchRequest, rule: LaunchRule | None) -> str:
    who = f"{request.namespace}/{request.name}"
    if rule is None:
        return f"no intent lets anybody launch {who}: give its Workload a spec.launch"
    return f"this process may not launch {who}: none of its Workload's spec.launch.by matches it"
