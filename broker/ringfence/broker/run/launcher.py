"""One run, from the vouched launch to the exit code, in numbered steps."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ringfence.broker.run.bootstrap import bootstrap
from ringfence.broker.run.capture import Capture, Wanted, check_leave
from ringfence.broker.run.children import NOT_EXECUTABLE, NOT_FOUND, Child, Children
from ringfence.broker.run.describe import describe
from ringfence.broker.run.environment import library_environment, workload_environment
from ringfence.broker.run.envoy import Proxy, envoy_arguments, find_envoy
from ringfence.broker.run.farewell import Farewell
from ringfence.broker.run.folder import RunFolder
from ringfence.broker.run.identity import fetch_identity
from ringfence.broker.run.isolate import Isolation
from ringfence.broker.run.kernel import become_subreaper
from ringfence.broker.run.plan import Launch, ProxyPlan, Who, plan_proxy
from ringfence.broker.run.ports import bind_here
from ringfence.broker.run.rank import NO_RANK, Rank, WantedRank
from ringfence.broker.run.vouch import Voucher
from ringfence.broker.run.workload import Signals, start_workload
from ringfence.xds.locality import NOWHERE, Locality

if TYPE_CHECKING:
    from ringfence.broker.run.library import Library

_TREE_GRACE = 2.0  # seconds between TERM and KILL for what the command left running


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for."""

    who: Who
    command: tuple[str, ...]
    environment: Mapping[str, str]  # what the command inherits
    socket: str
    server: str = ""  # empty: the one that the agent uses
    envoy: str = ""  # empty: find one
    inbound_host: str = "127.0.0.1"
    patience: float = 30.0  # seconds for each thing that is waited for
    linger: float = 0.15  # seconds for the proxy's last decision records to leave: it flushes every 50 ms
    concurrency: int = 1
    state_of_the_world: bool = False
    drain: float = 5.0  # seconds for requests under way, once callers know that it ends
    locality: Locality = NOWHERE  # what is named of it comes before what the agent says
    proxyless: bool = False  # the command speaks xDS by its own gRPC library
    isolate: bool = False  # behind walls; this process has entered its own namespaces already
    share: tuple[str, ...] = ()  # what it sees there all the same
    capture: Wanted | None = None  # the command lives in a network namespace from which all leads to its proxy
    rank: WantedRank = NO_RANK  # what it has beside all that as a rank of a job

    @property
    def is_walled(self) -> bool:
        """Whether the command has a network of its own."""
        return self.isolate or self.capture is not None


def launch(request: Request) -> int:
    """Run the command behind its proxy; its exit code. Raises what its steps raise."""
    return asyncio.run(_under_signals(request))


async def _under_signals(request: Request) -> int:
    runner = asyncio.current_task()
    assert runner is not None  # noqa: S101  # asyncio.run made one
    with Signals(runner) as signals:
        try:
            return await _run(request, signals)
        except asyncio.CancelledError:
            if not signals.ended_by:
                raise
            return signals.ended_by


async def _run(request: Request, signals: Signals) -> int:
    # 1. Look for both programs first: nothing has to be undone when one is missing.
    if refused := _cannot_run(request.command[0]):
        return refused
    program = "" if request.proxyless else find_envoy(request.envoy or None)
    if request.capture is not None:
        check_leave()
    async with AsyncExitStack() as stack:
        # 2. Adopt what the workload leaves behind, so that its chain of parents always ends in this process.
        become_subreaper()
        children = stack.enter_context(Children())
        # 3. Vouch for the tree, and 4. prove to the server who it is, to learn which proxy it needs.
        voucher = await stack.enter_async_context(
            Voucher(request.who, request.socket, patience=request.patience, say=_say)
        )
        launch = _as_asked(voucher.launch, request)
        who = request.who.of(launch.job)
        identity = await fetch_identity(launch.workload_socket, who, patience=request.patience)
        described = await describe(launch, identity, who, patience=request.patience)
        rank = await stack.enter_async_context(
            Rank(request.rank, who, request.command, request.environment, described, walled=request.is_walled)
        )
        await rank.join(launch.workload_socket, patience=request.patience, say=_say)
        # 5. A private folder, an address for every port, and a bootstrap without a secret in it.
        folder = stack.enter_context(RunFolder())
        if request.proxyless:
            return await _library(request, signals, children, folder, launch, described, rank)
        capture = stack.enter_context(Capture(rank.captured(request.capture))) if request.capture is not None else None
        plan = rank.planned(
            plan_proxy(
                who,
                launch,
                described,
                inbound_host=request.inbound_host,
                socket_dir=str(folder.sockets),
                netns=capture.path if capture is not None else "",
            )
        )
        if capture is not None:
            capture.apply(plan)
            capture.give(folder.sockets)
        walls = (
            await stack.enter_async_context(Isolation(folder, request.share, rank.held)) if request.isolate else None
        )
        bind = capture.bound if capture is not None else bind_here
        outside = walls.outside(plan) if walls else await rank.outside(plan, folder.path, bind)
        proxy = _proxy(request, program, children, folder, outside)
        stack.push_async_callback(proxy.stop, request.linger)
        farewell = Farewell(plan, folder.admin, drain=request.drain)
        stack.push_async_callback(farewell.say)
        # 6. The command starts only behind a proxy that is ready.
        await proxy.start(request.patience)
        environment = rank.environment(workload_environment(walls.inside(plan) if walls else plan, request.environment))
        confined = capture.confined() if capture is not None else None
        start = (
            partial(walls.start, children, plan, request.command, environment)
            if walls
            else partial(_start, children, request.command, environment, confined)
        )
        return await _command(request.command[0], start, signals, children, proxy, farewell, rank)


async def _library(
    request: Request,
    signals: Signals,
    children: Children,
    folder: RunFolder,
    launch: Launch,
    described: Any,
    rank: Rank,
) -> int:
    """5. and 6. without a proxy: the files and the bootstrap of the command's own library, kept fresh beside it."""
    from ringfence.broker.run.library import Library, needing_a_proxy, plan_library  # what it needs takes time to read

    who = request.who.of(launch.job)
    plan = plan_library(who, launch, described, inbound_host=request.inbound_host, socket_dir=folder.sockets)
    for what in needing_a_proxy(described):
        _say(f"{what}: there is none with --proxyless")
    library = Library(folder.path / "svid", plan)
    await library.start(request.patience)
    bootstrap = folder.write("grpc.json", library.bootstrap())
    environment = rank.environment(library_environment(plan, request.environment, bootstrap))
    farewell = Farewell(plan, None, drain=request.drain)
    try:
        start = partial(_start, children, request.command, environment)
        return await _command(request.command[0], start, signals, children, library, farewell, rank)
    finally:
        await farewell.say()


async def _start(
    children: Children,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    confined: Callable[[], None] | None = None,
) -> Child:
    # Without its proxy the ports that it was given belong to whoever binds them next: it ends with the launcher.
    return children.start(command, environment=environment, death_signal=signal.SIGTERM, before_exec=confined)


async def _command(
    program: str,
    start: Callable[[], Awaitable[Child]],
    signals: Signals,
    children: Children,
    beside: Proxy | Library,
    farewell: Farewell,
    rank: Rank,
) -> int:
    """7. The command, until it ends or may go on no longer, and 8. the end of whatever it left running."""
    workload = await start_workload(program, start)
    if not isinstance(workload, Child):
        return workload
    signals.forward_to(workload, farewell.drain)
    keeper: asyncio.Task[int] = asyncio.create_task(beside.keep())
    try:
        ends: list[asyncio.Future[int]] = [workload.exit, keeper, *rank.ends(workload.pid)]
        ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return (workload.exit if workload.exit in ended else ended.pop()).result()
    finally:
        keeper.cancel()
        await children.end_tree(spare=beside.pids, grace=_TREE_GRACE)


def _as_asked(launch: Launch, request: Request) -> Launch:
    """What the agent said, but for what the user named."""
    said, asked = launch.locality, request.locality
    # Another region has other zones: the agent's zone means nothing there.
    zone = asked.zone or ("" if asked.region not in {"", said.region} else said.zone)
    launch = replace(launch, locality=Locality(asked.region or said.region, zone))
    if request.server:
        first, *others = request.server.split(",")
        return replace(launch, server=first, others=tuple(others))
    return launch


def _proxy(request: Request, program: str, children: Children, folder: RunFolder, plan: ProxyPlan) -> Proxy:
    text = bootstrap(plan, admin_socket=str(folder.admin), state_of_the_world=request.state_of_the_world)
    arguments = envoy_arguments(program, folder.write("envoy.json", text), concurrency=request.concurrency)
    return Proxy(children, arguments, admin_socket=folder.admin, listeners=plan.listeners, say=_say)


def _cannot_run(program: str) -> int:
    """127 or 126 with a word of why, as a shell would; 0 when *program* can be started."""
    if shutil.which(program):
        return 0
    there = os.sep in program and os.path.exists(program)  # noqa: PTH110  # a plain question before any folder exists
    sys.stderr.write(f"Error: {program}: {'cannot be executed' if there else 'not found'}\n")
    return NOT_EXECUTABLE if there else NOT_FOUND


def _say(text: str) -> None:
    sys.stderr.write(f"ringfence run: {text}\n")
    sys.stderr.flush()
