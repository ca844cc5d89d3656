"""The parts of a server and how they hang together: what is loaded, in which order, before anyone is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from ringfence.broker import events
from ringfence.broker.attest.join_token import JoinTokens
from ringfence.broker.attest.node_port import NodeAttestor
from ringfence.broker.audit.chain import ACTIVE
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.bell import Bell
from ringfence.broker.config import BUNDLE, DATABASE, ServerConfig
from ringfence.broker.features import WIT_SVID
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.feed import Feed, Take
from ringfence.broker.intent import Intent
from ringfence.broker.issue import Issuer
from ringfence.broker.keys.choice import Unlocked, unlock
from ringfence.broker.nested.below import DownstreamApi
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.revoking import Revoker
from ringfence.broker.server.admin_api import AdminApi
from ringfence.broker.server.admission import Admission
from ringfence.broker.server.agent_api import AgentApi
from ringfence.broker.server.agents import Agents
from ringfence.broker.server.doorkeeper import Doorkeeper
from ringfence.broker.server.evidence import ServerEvidence
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.server.proxies import ServerProxies
from ringfence.broker.servers import Servers, holder_of
from ringfence.broker.signing.port import Here, Signing
from ringfence.broker.store import ledger
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.connect import Hold
from ringfence.broker.store.engine import Store
from ringfence.broker.store.location import Location
from ringfence.broker.trust import Trust
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.upstream import Upstream
from ringfence.proto.lane import Method

Clock = Callable[[], datetime]


def _node_attestors(config: ServerConfig, clock: Clock) -> Iterator[NodeAttestor]:
    """Those that the configuration asks for, beside join tokens; raises INVALID."""
    if config.x509pop_ca:
        from ringfence.broker.attest.x509pop import RootFiles, X509PopAttestor

        roots = RootFiles(config.x509pop_ca)
        yield X509PopAttestor(config.trust_domain, roots, below=config.x509pop_spiffe, clock=clock)
    if config.k8s_clusters:
        from ringfence.broker.attest.k8s_clusters import read_clusters
        from ringfence.broker.attest.k8s_psat import PsatAttestor

        yield PsatAttestor(read_clusters(config.k8s_clusters))


def _upstream(config: ServerConfig, loop: asyncio.AbstractEventLoop) -> Upstream | None:
    """Who signs our authorities."""
    if config.above is None:
        return config.upstream
    from ringfence.broker.nested.above import Above

    return Above(config.above, config.trust_domain, loop)


def _signing(config: ServerConfig, unlocked: Unlocked) -> Signing:
    """Where X509-SVIDs are signed; raises INVALID."""
    if not config.signers:
        return Here()
    from ringfence.broker.signing.pool import Signers  # most servers sign by themselves

    return Signers(config.signers, config.trust_domain, unlocked)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that serves, loaded."""

    store: Store
    registry: Registry
    trust: Trust
    issuer: Issuer
    identity: ServerIdentity
    intent: Intent
    agent_api: AgentApi
    admin_api: AdminApi
    proxies: ServerProxies
    evidence: ServerEvidence
    clock: Clock
    audit: AuditLog
    federation: Federation
    revoker: Revoker
    doorkeeper: Doorkeeper
    servers: Servers
    feed: Feed
    signing: Signing

    def methods(self) -> dict[str, Method]:
        """What the one `--listen` address serves."""
        below = DownstreamApi(self.store, self.registry, self.trust, self.clock, self.audit)
        return self.agent_api.methods() | self.proxies.methods() | self.evidence.methods() | below.methods()

    def followers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What keeps us in step with the server above, if there is one."""
        if not self.trust.follows:
            return ()
        from ringfence.broker.nested.follow import Follower

        return (Follower(self.trust, self.agent_api.bell, self.identity.renew, clock=self.clock).run,)


async def load(config: ServerConfig, clock: Clock) -> Parts:
    """Open the store and bring everything into memory; raises what any part raises, with the store closed."""
    location = config.database or Location.of_file(config.data_dir / DATABASE)
    async with AsyncExitStack() as undo:
        store = await Store.open(location, Hold.SHARED)
        undo.push_async_callback(store.close)
        audit = await _open_audit(config, clock)
        undo.callback(audit.close)
        unlocked = await asyncio.to_thread(unlock, config.keys, config.data_dir)
        signing = _signing(config, unlocked)
        undo.push_async_callback(signing.close)
        keys = await asyncio.to_thread(unlocked.open)
        servers = await Servers.enter(
            location, config.data_dir, str(config.listen), store=store, holds=holder_of(keys), clock=clock
        )
        undo.push_async_callback(servers.close)
        parts = await _load(config, store, audit, clock, servers=servers, keys=keys, signing=signing)
        undo.pop_all()
        return parts


async def _open_audit(config: ServerConfig, clock: Clock) -> AuditLog:
    rotate = config.audit_rotate_bytes
    audit = await asyncio.to_thread(AuditLog.open, config.data_dir / ACTIVE, clock=clock, rotate_bytes=rotate)
    events.audit_opened(*audit.head, cut_off=audit.repaired)
    return audit


async def _load(
    config: ServerConfig,
    store: Store,
    audit: AuditLog,
    clock: Clock,
    *,
    servers: Servers,
    keys: KeyManager,
    signing: Signing,
) -> Parts:
    bell = Bell()
    # 1. The authority: the same keys as before, or the first ones.
    trust = await Trust.load(
        config.trust_domain,
        keys,
        store=store,
        bell=bell,
        clock=clock,
        pem=config.data_dir / BUNDLE,
        ca_ttl=config.ca_ttl,
        audit=audit,
        upstream=await asyncio.to_thread(_upstream, config, asyncio.get_running_loop()),
        wit=WIT_SVID in config.features,
        keys_last=config.keys.last,
        servers=servers,
    )
    ours = [one.id for line in trust.authority.lines for one in line.every()]
    if unfinished := await store.run(ledger.unfinished, ours):
        events.unfinished(unfinished)
    # 2. Registrations and admitted agents.
    registry = Registry(bell)
    feed = Feed(store, registry, Revoked(bell))
    await feed.load()
    federation = Federation(lambda: trust.bundle, store, bell, clock=clock, on_duty=servers.on_duty)
    await federation.load()
    agents = Agents(trust, store, clock=clock)
    await agents.load()
    registry.facts_of = agents.selectors_of
    # 3. The intent in force and what proxies are to hold.
    proxies = await ServerProxies.load(store, feed.revoked, trust, bell, clock, server=servers.me.id)
    intent = Intent(config.trust_domain, store=store, feed=feed, registry=registry, proxies=proxies, clock=clock)
    await intent.restore()
    followers: dict[ChangeKind, Take] = {
        ChangeKind.SERVER: servers.follow,
        ChangeKind.AUTHORITY: trust.follow,
        ChangeKind.FEDERATION: federation.follow,
        ChangeKind.NODE: agents.follow,
        ChangeKind.ENDPOINTS: proxies.hear,
        ChangeKind.INTENT: intent.follow,
    }
    for kind, take in followers.items():
        feed.tell(kind, take)
    if servers.shared:  # these were read before the revision that the feed goes on from, and may be older
        await servers.follow()
        await trust.follow()
    # 4. The server's own identity.
    issuer = Issuer(
        trust.authority,
        registry,
        store,
        clock=clock,
        jwt_issuer=config.oidc_issuer,
        audit=audit,
        revoked=feed.revoked,
        signing=signing,
    )
    identity = ServerIdentity(trust, issuer, config.listen.host, clock=clock)
    await identity.renew()
    tokens = JoinTokens(store, clock=clock, audit=audit)
    attestors = [tokens, *await asyncio.to_thread(lambda: list(_node_attestors(config, clock)))]
    admission = Admission(config.trust_domain, attestors, agents, issuer, clock=clock)
    hastening = Hastening(federation, registry)
    evidence = ServerEvidence(intent, feed.revoked, forward=config.otlp_forward, clock=clock, hastening=hastening)
    # 5. What was revoked, which a crash may have left without its list.
    revoker = Revoker(store, feed, trust.authority, clock=clock, audit=audit)
    await revoker.make_lists()
    doorkeeper = Doorkeeper(feed.revoked, trust, bell)
    return Parts(
        store=store,
        registry=registry,
        trust=trust,
        issuer=issuer,
        identity=identity,
        intent=intent,
        agent_api=AgentApi(
            *(registry, trust, issuer, admission, agents, bell, clock, federation, audit, feed.revoked),
            hastening=hastening,
            feed=feed if servers.shared else None,
        ),
        admin_api=AdminApi(
            store,
            feed,
            registry,
            trust,
            tokens,
            agents,
            identity,
            intent,
            evidence,
            proxies,
            clock,
            federation,
            revoker,
            doorkeeper,
            servers,
        ),
        proxies=proxies,
        evidence=evidence,
        clock=clock,
        audit=audit,
        federation=federation,
        revoker=revoker,
        doorkeeper=doorkeeper,
        servers=servers,
        feed=feed,
        signing=signing,
    )
