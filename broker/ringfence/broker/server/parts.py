"""The parts of a server and how they hang together: what is loaded, in which order, before anyone is served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ringfence.broker import events
from ringfence.broker.attest.join_token import JoinTokens
from ringfence.broker.attest.node_port import NodeAttestor
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.bell import Bell
from ringfence.broker.config import BUNDLE, ServerConfig
from ringfence.broker.features import WIT_SVID
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.feed import Feed, Take
from ringfence.broker.intent import Intent
from ringfence.broker.issue import Issuer
from ringfence.broker.nested.below import DownstreamApi
from ringfence.broker.published import Place
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
from ringfence.broker.server.opened import Clock, Opened, open_all
from ringfence.broker.server.proxies import ServerProxies
from ringfence.broker.servers import Servers
from ringfence.broker.signing.port import Signing
from ringfence.broker.store import ledger
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.broker.trust import Trust
from ringfence.broker.trust_loading import Terms, load_trust
from ringfence.certs.upstream import Upstream
from ringfence.proto.lane import Method


def _node_attestors(config: ServerConfig, clock: Clock) -> Iterator[NodeAttestor]:
    """Those that the configuration asks for, beside join tokens; raises INVALID."""
    if config.x509pop_ca:
        from ringfence.broker.attest.roots import RootFiles
        from ringfence.broker.attest.x509pop import X509PopAttestor

        roots = RootFiles(config.x509pop_ca, "--x509pop-ca")
        yield X509PopAttestor(config.trust_domain, roots, below=config.x509pop_spiffe, clock=clock)
    if config.k8s_clusters:
        from ringfence.broker.attest.k8s_clusters import read_clusters
        from ringfence.broker.attest.k8s_psat import PsatAttestor

        yield PsatAttestor(read_clusters(config.k8s_clusters))
    if config.tpm_devid_ca:
        from ringfence.broker.attest.roots import RootFiles
        from ringfence.broker.attest.tpm_devid import TpmDevidAttestor

        devid = RootFiles(config.tpm_devid_ca, "--tpm-devid-ca")
        endorsement = RootFiles(config.tpm_ek_ca, "--tpm-ek-ca")
        yield TpmDevidAttestor(config.trust_domain, devid, endorsement, clock=clock)


def _upstream(config: ServerConfig, loop: asyncio.AbstractEventLoop) -> Upstream | None:
    """Who signs our authorities."""
    if config.above is None:
        return config.upstream
    from ringfence.broker.nested.above import Above

    return Above(config.above, config.trust_domain, loop)


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


@dataclass(frozen=True, slots=True)
class _Start:
    """What each step has at hand."""

    config: ServerConfig
    clock: Clock
    bell: Bell
    opened: Opened


@dataclass(frozen=True, slots=True)
class _Known:
    """Who is registered and admitted, and whose bundles are held."""

    registry: Registry
    feed: Feed
    federation: Federation
    agents: Agents


@dataclass(frozen=True, slots=True)
class _Enforced:
    """The intent in force, and who enforces it."""

    proxies: ServerProxies
    intent: Intent


@dataclass(frozen=True, slots=True)
class _Issuing:
    """The server's own identity, and who else gets one."""

    issuer: Issuer
    identity: ServerIdentity
    tokens: JoinTokens
    admission: Admission


@dataclass(frozen=True, slots=True)
class _Revoking:
    """Who revokes, and who ends the connections of what is revoked."""

    revoker: Revoker
    doorkeeper: Doorkeeper


async def load(config: ServerConfig, clock: Clock) -> Parts:
    """Open the store and bring everything into memory; raises what any part raises, with the store closed."""
    async with AsyncExitStack() as undo:
        opened = await open_all(config, clock, undo)
        parts = await _load(_Start(config, clock, Bell(), opened))
        undo.pop_all()
        return parts


async def _load(start: _Start) -> Parts:
    # 1. The authority: the same keys as before, or the first ones.
    trust = await _load_trust(start)
    # 2. Registrations, bundles of others and admitted agents.
    known = await _load_known(start, trust)
    # 3. The intent in force and what proxies are to hold; then all that other servers change.
    enforced = await _load_enforced(start, trust, known)
    await _follow_others(start.opened.servers, trust, known, enforced)
    # 4. The server's own identity.
    issuing = await _load_issuing(start, trust, known)
    # 5. What was revoked, which a crash may have left without its list.
    revoking = await _load_revoking(start, trust, known)
    # 6. Who answers.
    return _assemble(start, trust, known, enforced, issuing=issuing, revoking=revoking)


async def _load_trust(start: _Start) -> Trust:
    config, opened = start.config, start.opened
    terms = Terms(
        config.trust_domain,
        config.ca_ttl,
        upstream=await asyncio.to_thread(_upstream, config, asyncio.get_running_loop()),
        wit=WIT_SVID in config.features,
        keys_last=config.keys.last,
    )
    pem = config.data_dir / BUNDLE
    place = Place(opened.store, start.bell, start.clock, pem, audit=opened.audit, servers=opened.servers)
    trust = await load_trust(terms, opened.keys, place)
    ours = [one.id for line in trust.authority.lines for one in line.every()]
    if unfinished := await opened.store.run(ledger.unfinished, ours):
        events.unfinished(unfinished)
    return trust


async def _load_known(start: _Start, trust: Trust) -> _Known:
    store, on_duty = start.opened.store, start.opened.servers.on_duty
    registry = Registry(start.bell)
    feed = Feed(store, registry, Revoked(start.bell))
    await feed.load()
    federation = Federation(lambda: trust.bundle, store, start.bell, clock=start.clock, on_duty=on_duty)
    await federation.load()
    agents = Agents(trust, store, clock=start.clock)
    await agents.load()
    registry.facts_of = agents.selectors_of
    return _Known(registry, feed, federation, agents)


async def _load_enforced(start: _Start, trust: Trust, known: _Known) -> _Enforced:
    store, feed, clock, me = start.opened.store, known.feed, start.clock, start.opened.servers.me
    proxies = await ServerProxies.load(store, feed.revoked, trust, start.bell, clock, server=me.id)
    domain = start.config.trust_domain
    intent = Intent(domain, store=store, feed=feed, registry=known.registry, proxies=proxies, clock=clock)
    await intent.restore()
    return _Enforced(proxies, intent)


async def _follow_others(servers: Servers, trust: Trust, known: _Known, enforced: _Enforced) -> None:
    followers: dict[ChangeKind, Take] = {
        ChangeKind.SERVER: servers.follow,
        ChangeKind.AUTHORITY: trust.follow,
        ChangeKind.FEDERATION: known.federation.follow,
        ChangeKind.NODE: known.agents.follow,
        ChangeKind.ENDPOINTS: enforced.proxies.hear,
        ChangeKind.INTENT: enforced.intent.follow,
    }
    for kind, take in followers.items():
        known.feed.tell(kind, take)
    if servers.shared:  # these were read before the revision that the feed goes on from, and may be older
        await servers.follow()
        await trust.follow()


async def _load_issuing(start: _Start, trust: Trust, known: _Known) -> _Issuing:
    config, opened, clock = start.config, start.opened, start.clock
    issuer = Issuer(
        trust.authority,
        known.registry,
        opened.store,
        clock=clock,
        jwt_issuer=config.oidc_issuer,
        audit=opened.audit,
        revoked=known.feed.revoked,
        signing=opened.signing,
    )
    identity = ServerIdentity(trust, issuer, config.listen.host, clock=clock)
    await identity.renew()
    tokens = JoinTokens(opened.store, clock=clock, audit=opened.audit)
    attestors = [tokens, *await asyncio.to_thread(lambda: list(_node_attestors(config, clock)))]
    admission = Admission(config.trust_domain, attestors, known.agents, issuer, clock=clock)
    return _Issuing(issuer, identity, tokens, admission)


async def _load_revoking(start: _Start, trust: Trust, known: _Known) -> _Revoking:
    store, audit = start.opened.store, start.opened.audit
    revoker = Revoker(store, known.feed, trust.authority, clock=start.clock, audit=audit)
    await revoker.make_lists()
    return _Revoking(revoker, Doorkeeper(known.feed.revoked, trust, start.bell))


def _assemble(
    start: _Start, trust: Trust, known: _Known, enforced: _Enforced, *, issuing: _Issuing, revoking: _Revoking
) -> Parts:
    config, clock, opened = start.config, start.clock, start.opened
    registry, feed, agents, federation = known.registry, known.feed, known.agents, known.federation
    hastening = Hastening(federation, registry)
    evidence = ServerEvidence(
        enforced.intent, feed.revoked, forward=config.otlp_forward, clock=clock, hastening=hastening
    )
    agent_api = AgentApi(
        *(registry, trust, issuing.issuer, issuing.admission, agents, start.bell, clock, federation),
        *(opened.audit, feed.revoked),
        hastening=hastening,
        feed=feed if opened.servers.shared else None,
    )
    admin_api = AdminApi(
        *(opened.store, feed, registry, trust, issuing.tokens, agents, issuing.identity),
        *(enforced.intent, evidence, enforced.proxies, clock, federation),
        *(revoking.revoker, revoking.doorkeeper, opened.servers),
    )
    return Parts(
        store=opened.store,
        registry=registry,
        trust=trust,
        issuer=issuing.issuer,
        identity=issuing.identity,
        intent=enforced.intent,
        agent_api=agent_api,
        admin_api=admin_api,
        proxies=enforced.proxies,
        evidence=evidence,
        clock=clock,
        audit=opened.audit,
        federation=federation,
        revoker=revoking.revoker,
        doorkeeper=revoking.doorkeeper,
        servers=opened.servers,
        feed=feed,
        signing=opened.signing,
    )
