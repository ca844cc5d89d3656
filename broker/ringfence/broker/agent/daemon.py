"""The agent as a process: joins, serves its two sockets, follows its server, keeps its state, and stops with grace."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.broker.agent import events, late_log, pages
from ringfence.broker.agent.cache import Cache, Clock, utc_now
from ringfence.broker.agent.config import AgentConfig
from ringfence.broker.agent.ending import end_entries
from ringfence.broker.agent.issuing import Issuer
from ringfence.broker.agent.keeping import Keeper
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.agent.node import Node
from ringfence.broker.agent.parts import Known, Serving, serving
from ringfence.broker.agent.storage import DataFolder
from ringfence.broker.agent.watches import Watches
from ringfence.broker.http import cannot_listen, serve_pages
from ringfence.broker.status import hidden
from ringfence.certs.errors import RingfenceError
from ringfence.proto.lane import Lane, Limits

if TYPE_CHECKING:
    from ringfence.broker.agent.fabrics.keeper import FabricKeeper
    from ringfence.broker.agent.pods import NodePods

_OPEN_TO_ALL = 0o777  # the socket attests; who may reach it is the folder's business
_WARM_UP_AFTER = 0.5  # seconds
_LIMITS = Limits(connections=65_536)


class Agent:
    """One agent. `run` returns once *stop* is set; everything it opened is closed then."""

    def __init__(self, config: AgentConfig, *, clock: Clock = utc_now, folders: LaunchFolders | None = None) -> None:
        self._config = config
        self._clock = clock
        self._folder = DataFolder(config.data_dir)
        self._node = Node(config, self._folder, clock)
        self._folders = folders or LaunchFolders()
        self._pods = _pods_of(config)
        self._known: Known | None = None  # once it has joined
        self._serves: Serving | None = None
        self._listening = False

    @property
    def _cache(self) -> Cache | None:
        return self._known.cache if self._known is not None else None

    @property
    def ready(self) -> bool:
        """Whether workloads are served what the server said."""
        return not self.unready

    @property
    def unready(self) -> str:
        """Why they are not; empty when they are."""
        if self._known is None or not self._listening:
            return "it has not joined yet" if self._known is None else "its sockets are not open"
        return self._known.cache.unready

    @property
    def last_failure(self) -> RingfenceError | None:
        """Why the server is not connected, if it is not."""
        return self._known.link.last_failure if self._known is not None else None

    @property
    def watches(self) -> Watches | None:
        """The open streams, once it serves."""
        return self._serves.watches if self._serves is not None else None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until *stop*; raises RingfenceError or OSError for what keeps it from serving at all."""
        await self._check_able()
        await asyncio.to_thread(self._folder.open)
        http = None
        try:
            if (address := self._config.http_listen) is not None:
                found = pages.routes(lambda: self._cache, lambda: self.unready, lambda: self.watches)
                http = await serve_pages(address.host, address.port, found)
            if await _unless(stop, self._node.join()):
                await self._serve(stop)
        finally:
            if http is not None:
                http.close()
            self._folder.close()

    async def _serve(self, stop: asyncio.Event) -> None:
        # 1. What was known before, and who serves it.
        known = self._known = await Known.of(self._config, self._node, self._clock)
        keeper = Keeper(self._folder, self._node, known)
        await keeper.restore()
        fabrics = await self._fabrics_of(known)
        serves = self._serves = await serving(
            self._config, self._node, known, folders=self._folders, pods=self._pods, fabrics=fabrics
        )
        lanes = [
            Lane(serves.workload_methods, limits=_LIMITS, on_error=hidden),
            Lane(serves.admin_methods, on_error=hidden),
        ]
        try:
            # 2. The sockets.
            await _listen(lanes[0], self._config.socket)
            await _listen(lanes[1], self._config.admin_socket)
            lanes += await self._serve_brokers(known, serves)
            self._listening = True
            events.serving(self._config.socket)
            # 3. Everything beside them.
            warming = asyncio.create_task(_after_start(serves.load_secrets, self._folders.sweep))
            await self._follow(stop, known, keeper, serves)
            warming.cancel()
        finally:
            self._listening = False
            events.stopping()
            for lane in lanes:
                await lane.drain(self._config.drain_seconds)
            await self._folders.close()
            await keeper.save()

    async def _check_able(self) -> None:
        """Refuse to start without what it needs to keep fabrics, before anything else is begun."""
        if self._config.fabric:
            from ringfence.broker.agent.fabrics.able import check_able  # most agents keep none

            await asyncio.to_thread(check_able)

    async def _fabrics_of(self, known: Known) -> FabricKeeper | None:
        """Who keeps the node's fabrics, as they were; None unless that is wanted."""
        if not self._config.fabric:
            return None
        keeper_of = await asyncio.to_thread(_fabric_keeper)
        return await keeper_of(self._folder, known.link, known.cache, self._clock)

    async def _serve_brokers(self, known: Known, serves: Serving) -> list[Lane]:
        """The lane of the Broker API; none unless it is wanted."""
        if self._config.broker is None:
            return []
        from ringfence.broker.broker_api.endpoint import serve_brokers  # most agents serve none

        node, pods = self._node, self._pods.pods if self._pods is not None else None
        return [
            await serve_brokers(
                *(self._config.broker, lambda: node.identity.svid, serves.watches, known.tokens, pods),
                tell=known.link.unknown_key,
            )
        ]

    async def _follow(self, stop: asyncio.Event, known: Known, keeper: Keeper, serves: Serving) -> None:
        """Everything that goes on beside the sockets, until *stop*."""
        cache, link = known.cache, known.link
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(link.run()),
                tasks.create_task(Issuer(cache, link).run()),
                tasks.create_task(end_entries(cache)),
                tasks.create_task(self._node.keep_renewed(link)),
                tasks.create_task(keeper.run()),
                tasks.create_task(serves.watches.callers.holders.run()),
                tasks.create_task(serves.connections.run()),
                *((tasks.create_task(known.wits.run()),) if known.wits is not None else ()),
                *((tasks.create_task(serves.fabrics.run()),) if serves.fabrics is not None else ()),
                *((tasks.create_task(self._pods.run()),) if self._pods else ()),
            ]
            await stop.wait()
            for task in running:
                task.cancel()


def _fabric_keeper() -> Callable[..., Coroutine[object, object, FabricKeeper]]:
    from ringfence.broker.agent.fabrics.starting import keeper_of  # most agents keep none

    return keeper_of


def _pods_of(config: AgentConfig) -> NodePods | None:
    if not config.k8s_node:
        return None
    from ringfence.broker.agent.pods import NodePods  # most agents ask no API

    return NodePods(config.k8s_node, config.k8s_kubeconfig)


async def _listen(lane: Lane, path: Path) -> None:
    try:
        await asyncio.to_thread(path.parent.mkdir, mode=0o755, parents=True, exist_ok=True)
        await lane.listen_unix(path, _OPEN_TO_ALL)
    except OSError as error:
        raise cannot_listen(str(path), error, flag="--socket") from error


async def _after_start(*steps: Callable[[], object]) -> None:
    """Do what need not be done at the start, as loading what the first Envoy would wait for; in a thread each."""
    await asyncio.sleep(_WARM_UP_AFTER)
    for step in (*steps, late_log.flush):
        await asyncio.to_thread(step)


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Whether *work* was done before *stop*; raises what it raises."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not doing.done():
        doing.cancel()
        await asyncio.wait((doing,))
        return False
    doing.result()
    return not stop.is_set()


def run(config: AgentConfig) -> None:
    """Run an agent in this process until SIGINT or SIGTERM."""
    _raise_file_limit()
    late_log.set_level(config.log_level)
    import uvloop  # 60 ms for those who only import this module

    try:
        uvloop.run(_until_signalled(Agent(config)))
    finally:
        late_log.flush()


async def _until_signalled(agent: Agent) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await agent.run(stop)


def _raise_file_limit() -> None:
    """Each workload's connection is two files: its socket and its pidfd."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
