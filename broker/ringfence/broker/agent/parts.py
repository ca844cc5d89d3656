"""The parts of an agent and how they hang together: what it knows, then what serves that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ringfence.broker.agent.cache import Cache, Clock
from ringfence.broker.agent.callers import Callers
from ringfence.broker.agent.config import AgentConfig
from ringfence.broker.agent.connection_logs import connection_logs
from ringfence.broker.agent.connections import Connections
from ringfence.broker.agent.dial import Dialler
from ringfence.broker.agent.explaining import Explainer
from ringfence.broker.agent.launch_folders import LaunchFolders
from ringfence.broker.agent.launcher import Launcher
from ringfence.broker.agent.lazily import reflection
from ringfence.broker.agent.link import Link
from ringfence.broker.agent.node import Node
from ringfence.broker.agent.sds import secret_discovery
from ringfence.broker.agent.storage import Kept
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.watches import Watches
from ringfence.broker.agent.workload_api import WorkloadApi
from ringfence.broker.attest.cgroup import CgroupAttestor
from ringfence.broker.attest.from_cgroup import path_attestors
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.broker.attest.port import WorkloadAttestor
from ringfence.broker.attest.systemd import SystemdAttestor
from ringfence.broker.attest.unix import UnixAttestor
from ringfence.broker.features import WIT_SVID
from ringfence.proto.lane import Method

if TYPE_CHECKING:
    from ringfence.broker.agent.fabrics.keeper import FabricKeeper
    from ringfence.broker.agent.pods import NodePods
    from ringfence.broker.agent.wits import Wits


@dataclass(frozen=True, slots=True)
class Known:
    """What the agent knows of its workloads, and the stream on which it asks for more."""

    cache: Cache
    link: Link
    tokens: Tokens
    wits: Wits | None  # None: without the feature

    @classmethod
    async def of(cls, config: AgentConfig, node: Node, clock: Clock) -> Known:
        """As a node that has joined knows it: its bundle, and nothing else yet."""
        cache = Cache(node.bundle, clock=clock)
        dialler = Dialler(node.ring.address, lambda: node.trust, lambda: node.identity.svid)
        link = Link(dialler, cache, ring=node.ring)
        if node.joined_anew:
            link.rejoined()
        wits = await asyncio.to_thread(_wits_of, cache, link) if WIT_SVID in config.features else None
        return cls(cache, link, Tokens(link, clock), wits)

    def restore(self, kept: Kept) -> None:
        """Know what `dump` gave."""
        self.cache.restore(kept)
        self.tokens.restore(kept.tokens)
        if self.wits is not None:
            self.wits.restore(kept.wits)

    def dump(self) -> Kept:
        """All that a restarted agent needs."""
        cache = self.cache
        federated = {td.name: bundle.to_json() for td, bundle in cache.bundles.federated.items()}
        wits = self.wits.dump() if self.wits is not None else {}
        entries, svids = cache.book.as_update(), dict(cache.svids)
        return Kept(entries, federated, svids, self.tokens.dump(), wits, revoked=cache.revoked.encoded)


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers on the agent's two sockets, by method, and what loads the part that need not be there at once."""

    watches: Watches
    workload_methods: dict[str, Method]
    admin_methods: dict[str, Method]
    connections: Connections
    fabrics: FabricKeeper | None  # None: without --fabric
    load_secrets: Callable[[], object]


async def serving(
    config: AgentConfig,
    node: Node,
    known: Known,
    *,
    folders: LaunchFolders,
    pods: NodePods | None,
    fabrics: FabricKeeper | None,
) -> Serving:
    """Who serves what is *known*, told of its changes from here on; raises INVALID for a kubeconfig that is none."""
    # 1. Who calls, and the streams that are open to them.
    launches = LaunchAttestor()
    cache = known.cache
    callers = Callers(await _attestors(pods), launches, lambda: cache.book.wanted)
    watches = Watches(cache, callers, hold=config.hold)
    launcher = Launcher(
        *(cache, callers, launches, folders),
        servers=lambda: node.ring.every,
        socket=config.socket,
        hold=config.hold,
        locality=config.locality,
    )
    # 2. Who hears of what.
    if pods is not None:
        callers.follow(pods.pods, watches.on_pods)
    cache.listen(watches)
    launches.on_change(watches.on_launch)
    _hook(node, known, launcher)
    connections = Connections(lambda: cache.revoked.identities)
    cache.hooks.callers_revoked = connections.look_again
    # 3. The methods.
    secrets, load_secrets = secret_discovery(watches, connections)
    api = WorkloadApi(watches, known.tokens, known.link.unknown_key).methods()
    return Serving(
        watches,
        api | _wit_methods(watches, known.wits) | secrets | connection_logs(connections) | reflection(),
        launcher.methods() | Explainer(cache, callers).methods() | _fabric_methods(watches, fabrics),
        connections,
        fabrics,
        load_secrets,
    )


async def _attestors(pods: NodePods | None) -> tuple[WorkloadAttestor, ...]:
    asked = () if pods is None else (await pods.open(),)
    return (UnixAttestor(), SystemdAttestor(), CgroupAttestor(), *path_attestors(k8s=pods is None), *asked)


def _hook(node: Node, known: Known, launcher: Launcher) -> None:
    """Who else hears of changes, beside the open streams."""
    hooks, tokens = known.cache.hooks, known.tokens
    hooks.gone = tokens.forget
    hooks.entries = launcher.rules_changed
    hooks.bundle = node.note_bundle
    hooks.rotate = lambda spread, named: _rotate(node, tokens, spread, named)
    node.turned_away = known.cache.turned_away


def _rotate(node: Node, tokens: Tokens, spread: timedelta, authorities: frozenset[str]) -> None:
    tokens.forget_all()
    if not authorities or node.identity.svid.authority in authorities:
        node.rotate(spread)


def _fabric_methods(watches: Watches, fabrics: FabricKeeper | None) -> dict[str, Method]:
    """The calls for fabrics; without --fabric one that says so."""
    if fabrics is None:
        from ringfence.broker.agent.no_fabrics import no_fabrics  # a few lines, where the other is a whole room

        return no_fabrics()
    from ringfence.broker.agent.fabrics.api import FabricsApi  # read already, with the keeper

    return FabricsApi(watches, fabrics).methods()


def _wits_of(cache: Cache, link: Link) -> Wits:
    import ringfence.broker.agent.wit_api  # noqa: F401  # most agents serve none; no file is read in the event loop
    from ringfence.broker.agent.wits import Wits

    return Wits(cache, link)


def _wit_methods(watches: Watches, wits: Wits | None) -> dict[str, Method]:
    """The calls for WIT-SVIDs; none without the feature."""
    if wits is None:
        return {}
    from ringfence.broker.agent.wit_api import WitApi  # read already, with what it serves

    wits.attach()
    return WitApi(watches, wits).methods()
