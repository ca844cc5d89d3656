"""The agent as a process: joins, serves its two sockets, follows its server, keeps its state, and stops with grace."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.broker.agent import events, pages
from ringfence.broker.agent.cache import Cache, Clock, utc_now
from ringfence.broker.agent.callers import Callers
from ringfence.broker.agent.config import AgentConfig
from ringfence.broker.agent.dial import Dialler
from ringfence.broker.agent.ending import end_entries
from ringfence.broker.agent.explaining import Explainer
from ringfence.broker.agent.issuing import Issuer
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.agent.launcher import Launcher
from ringfence.broker.agent.lazily import reflection
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.node import Node
from ringfence.broker.agent.sds import secret_discovery
from ringfence.broker.agent.storage import DataFolder, Kept
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.watch import Watches
from ringfence.broker.agent.workload_api import WorkloadApi
from ringfence.broker.attest.cgroup import CgroupAttestor
from ringfence.broker.attest.from_cgroup import path_attestors
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.broker.attest.systemd import SystemdAttestor
from ringfence.broker.attest.unix import UnixAttestor
from ringfence.broker.features import WIT_SVID
from ringfence.broker.http import cannot_listen, serve_pages
from ringfence.broker.status import hidden
from ringfence.certs.errors import RingfenceError
from ringfence.proto.lane import Lane, Limits, Method

if TYPE_CHECKING:
    from ringfence.broker.agent.pods import NodePods
    from ringfence.broker.agent.wits import Wits

_OPEN_TO_ALL = 0o777  # the socket attests; who may reach it is the folder's business
_SAVE_PAUSE = 0.2  # seconds in which changes of the kept state come together
_WARM_UP_AFTER = 0.5  # seconds
_LIMITS = Limits(connections=65_536)


class Agent:
    """One agent. `run` returns once *stop* is set; everything it opened is closed then."""

    def __init__(self, config: AgentConfig, *, clock: Clock = utc_now, folders: LaunchFolders | None = None) -> None:
        self._config = config
        self._clock = clock
        self._folder = DataFolder(config.data_dir)
        self._node = Node(config, self._folder, clock)
        self._launches = LaunchAttestor()
        self._folders = folders or LaunchFolders()
        self._pods = _pods_of(config)
        self._cache: Cache | None = None
        self._watches: Watches | None = None
        self._link: Link | None = None
        self._listening = False
        self._wits: Wits | None = None

    @property
    def ready(self) -> bool:
        """Whether workloads are served what the server said."""
        return self._listening and self._cache is not None and self._cache.synced

    @property
    def last_failure(self) -> RingfenceError | None:
        """Why the server is not connected, if it is not."""
        return self._link.last_failure if self._link is not None else None

    @property
    def watches(self) -> Watches | None:
        """The open streams, once it serves."""
        return self._watches

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until *stop*; raises RingfenceError or OSError for what keeps it from serving at all."""
        await asyncio.to_thread(self._folder.open)
        http = None
        try:
            if (address := self._config.http_listen) is not None:
                found = pages.routes(lambda: self._cache, lambda: self.ready, lambda: len(self._watches or ()))
                http = await serve_pages(address.host, address.port, found)
            if await _unless(stop, self._node.join()):
                await self._serve(stop)
        finally:
            if http is not None:
                http.close()
            self._folder.close()

    async def _serve(self, stop: asyncio.Event) -> None:
        cache = self._cache = Cache(self._node.bundle, clock=self._clock)
        node = self._node
        dialler = Dialler(node.ring.address, lambda: node.trust, lambda: node.identity.svid)
        link = self._link = Link(dialler, cache, ring=node.ring)
        if node.joined_anew:
            link.rejoined()
        tokens = Tokens(link, self._clock)
        if WIT_SVID in self._config.features:
            self._wits = await asyncio.to_thread(_wits_of, cache, link)
        await self._restore(cache, tokens)
        pods = self._pods
        attestors = (*path_attestors(k8s=pods is None), *((await pods.open(),) if pods else ()))
        callers = Callers(
            (UnixAttestor(), SystemdAttestor(), CgroupAttestor(), *attestors),
            self._launches,
            lambda: cache.book.wanted,
        )
        watches = self._watches = Watches(cache, callers, hold=self._config.hold)
        if pods is not None:
            callers.follow(pods.pods, watches.on_pods)
        cache.listen(watches)
        self._launches.on_change(watches.on_launch)
        launcher = Launcher(
            cache,
            callers,
            self._launches,
            self._folders,
            servers=lambda: node.ring.every,
            socket=self._config.socket,
            hold=self._config.hold,
        )
        cache.hooks.gone = tokens.forget
        cache.hooks.entries = launcher.rules_changed
        cache.hooks.bundle = node.note_bundle
        node.turned_away = cache.turned_away
        cache.hooks.rotate = lambda spread, named: _rotate(node, tokens, spread, named)
        secrets, load_secrets = secret_discovery(watches)
        methods = WorkloadApi(watches, tokens, link.unknown_key).methods() | self._serve_wits(watches)
        lanes = [
            Lane(methods | secrets | reflection(), limits=_LIMITS, on_error=hidden),
            Lane(launcher.methods() | Explainer(cache, callers).methods(), on_error=hidden),
        ]
        try:
            await _listen(lanes[0], self._config.socket)
            await _listen(lanes[1], self._config.admin_socket)
            if self._config.broker is not None:
                from ringfence.broker.broker_api.endpoint import serve_brokers  # most agents serve none

                known = pods.pods if pods is not None else None
                served = await serve_brokers(self._config.broker, lambda: node.identity.svid, watches, tokens, known)
                lanes.append(served)
            self._listening = True
            events.serving(self._config.socket)
            warming = asyncio.create_task(_after_start(load_secrets, self._folders.sweep))
            await self._follow(stop, cache, link, tokens)
            warming.cancel()
        finally:
            self._listening = False
            events.stopping()
            for lane in lanes:
                await lane.drain(self._config.drain_seconds)
            await self._folders.close()
            await self._save(cache, tokens)

    def _serve_wits(self, watches: Watches) -> dict[str, Method]:
        """The calls for WIT-SVIDs; none without the feature."""
        if self._wits is None:
            return {}
        from ringfence.broker.agent.wit_api import WitApi  # read already, with what it serves

        self._wits.attach()
        return WitApi(watches, self._wits).methods()

    async def _follow(self, stop: asyncio.Event, cache: Cache, link: Link, tokens: Tokens) -> None:
        """Everything that goes on beside the sockets, until *stop*."""
        issuer = Issuer(cache, link)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(link.run()),
                tasks.create_task(issuer.run()),
                tasks.create_task(end_entries(cache)),
                tasks.create_task(self._node.keep_renewed(link)),
                tasks.create_task(self._keep(cache, tokens)),
                *((tasks.create_task(self._wits.run()),) if self._wits is not None else ()),
                *((tasks.create_task(self._pods.run()),) if self._pods else ()),
            ]
            await stop.wait()
            for task in running:
                task.cancel()

    async def _restore(self, cache: Cache, tokens: Tokens) -> None:
        try:
            kept = await asyncio.to_thread(self._folder.load)
        except (RingfenceError, OSError) as error:
            events.not_kept(error)
            return
        if kept is not None:
            cache.restore(kept)
            tokens.restore(kept.tokens)
            if self._wits is not None:
                self._wits.restore(kept.wits)

    async def _keep(self, cache: Cache, tokens: Tokens) -> None:
        while True:
            await cache.dirty.wait()
            await asyncio.sleep(_SAVE_PAUSE)
            await self._save(cache, tokens)

    async def _save(self, cache: Cache, tokens: Tokens) -> None:
        cache.dirty.clear()
        await self._node.save()
        federated = {td.name: bundle.to_json() for td, bundle in cache.bundles.federated.items()}
        wits = self._wits.dump() if self._wits is not None else {}
        kept = Kept(
            cache.book.as_update(), federated, dict(cache.svids), tokens.dump(), wits, revoked=cache.revoked.encoded
        )
        try:
            await asyncio.to_thread(self._folder.save, kept)
        except (OSError, RingfenceError) as error:
            events.not_kept(error)


def _pods_of(config: AgentConfig) -> NodePods | None:
    if not config.k8s_node:
        return None
    from ringfence.broker.agent.pods import NodePods  # most agents ask no API

    return NodePods(config.k8s_node, config.k8s_kubeconfig)


def _wits_of(cache: Cache, link: Link) -> Wits:
    import ringfence.broker.agent.wit_api  # noqa: F401  # most agents serve none; no file is read in the event loop
    from ringfence.broker.agent.wits import Wits

    return Wits(cache, link)


async def _listen(lane: Lane, path: Path) -> None:
    try:
        await asyncio.to_thread(path.parent.mkdir, mode=0o755, parents=True, exist_ok=True)
        await lane.listen_unix(path, _OPEN_TO_ALL)
    except OSError as error:
        raise cannot_listen(str(path), error, flag="--socket") from error


async def _after_start(*steps: Callable[[], object]) -> None:
    """Do what need not be done at the start, as loading what the first Envoy would wait for; in a thread each."""
    await asyncio.sleep(_WARM_UP_AFTER)
    for step in (*steps, events.flush):
        await asyncio.to_thread(step)


def _rotate(node: Node, tokens: Tokens, spread: timedelta, authorities: frozenset[str]) -> None:
    tokens.forget_all()
    if not authorities or node.identity.svid.authority in authorities:
        node.rotate(spread)


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
    events.set_level(config.log_level)
    import uvloop  # 60 ms for those who only import this module

    try:
        uvloop.run(_until_signalled(Agent(config)))
    finally:
        events.flush()


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
