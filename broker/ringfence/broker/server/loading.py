"""The steps by which a server loads its state: each takes what the steps before it gave, and gives a frozen value."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ringfence.broker import events
from ringfence.broker.attest.join_token import JoinTokens
from ringfence.broker.bell import Bell
from ringfence.broker.config import BUNDLE, ISSUER_KEYS, ServerConfig
from ringfence.broker.fabric.admitting import Admitting
from ringfence.broker.fabric.members import Members, Sources
from ringfence.broker.features import WIT_SVID
from ringfence.broker.federation.federation import Federation
from ringfence.broker.feed import Feed, Take
from ringfence.broker.intent import Intent
from ringfence.broker.issue import Issuer
from ringfence.broker.published import Place
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.revoking import Revoker
from ringfence.broker.server.admission import Admission
from ringfence.broker.server.agents import Agents
from ringfence.broker.server.doorkeeper import Doorkeeper
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.server.opened import Clock, Opened
from ringfence.broker.server.plugins import node_attestors, upstream_of
from ringfence.broker.server.proxies import ServerProxies
from ringfence.broker.servers import Servers
from ringfence.broker.store import ledger
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.token_keys import TokenKeys
from ringfence.broker.trust import Trust
from ringfence.broker.trust_loading import Terms, load_trust


@dataclass(frozen=True, slots=True)
class Start:
    """What each step has at hand."""

    config: ServerConfig
    clock: Clock
    bell: Bell
    opened: Opened


@dataclass(frozen=True, slots=True)
class Known:
    """Who is registered and admitted, and whose bundles are held."""

    registry: Registry
    feed: Feed
    federation: Federation
    agents: Agents


@dataclass(frozen=True, slots=True)
class Enforced:
    """The intent in force, and who enforces it."""

    proxies: ServerProxies
    intent: Intent


@dataclass(frozen=True, slots=True)
class Issuing:
    """The server's own identity, and who else gets one."""

    issuer: Issuer
    identity: ServerIdentity
    tokens: JoinTokens
    admission: Admission


@dataclass(frozen=True, slots=True)
class Revoking:
    """Who revokes, and who ends the connections of what is revoked."""

    revoker: Revoker
    doorkeeper: Doorkeeper


async def load_authority(start: Start) -> Trust:
    """The authority: the same keys as before, or the first ones; raises as `load_trust`, and what a plug-in raises."""
    config, opened = start.config, start.opened
    terms = Terms(
        config.trust_domain,
        config.ca_ttl,
        upstream=await asyncio.to_thread(upstream_of, config, asyncio.get_running_loop()),
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


async def load_known(start: Start, trust: Trust) -> Known:
    """Registrations, bundles of other trust domains, and admitted agents."""
    store, on_duty = start.opened.store, start.opened.servers.on_duty
    registry = Registry(start.bell)
    feed = Feed(store, registry, Revoked(start.bell))
    await feed.load()
    federation = Federation(lambda: trust.bundle, store, start.bell, clock=start.clock, on_duty=on_duty)
    await federation.load()
    agents = Agents(trust, store, clock=start.clock)
    await agents.load()
    registry.facts_of = agents.selectors_of
    return Known(registry, feed, federation, agents)


async def load_enforced(start: Start, trust: Trust, known: Known) -> Enforced:
    """What proxies are to hold; raises INVALID if this program refuses the intent that was in force."""
    store, feed, clock, me = start.opened.store, known.feed, start.clock, start.opened.servers.me
    keys = TokenKeys(start.config.data_dir / ISSUER_KEYS, clock)
    proxies = await ServerProxies.load(store, feed.revoked, trust, start.bell, clock, keys, server=me.id)
    domain = start.config.trust_domain
    intent = Intent(
        domain,
        store=store,
        feed=feed,
        registry=known.registry,
        proxies=proxies,
        clock=clock,
        federated=lambda: known.federation.held,
    )
    await intent.restore()
    return Enforced(proxies, intent)


async def load_members(start: Start, known: Known, enforced: Enforced) -> Admitting:
    """Who is a member of which job on which fabric: as it was, until agents are back."""
    opened, feed, agents = start.opened, known.feed, known.agents
    sources = Sources(enforced.intent, known.registry, feed.revoked, agents, start.clock)
    members = Members(sources, opened.store, start.bell)
    agents.on_change = start.bell.ring
    admitting = Admitting(members, store=opened.store, feed=feed, audit=opened.audit, me=opened.servers.me.id)
    await admitting.load()
    return admitting


async def follow_others(servers: Servers, trust: Trust, known: Known, enforced: Enforced, admitting: Admitting) -> None:
    """Have the feed tell each part of what other servers change, from where it was read on."""
    followers: dict[ChangeKind, Take] = {
        ChangeKind.SERVER: servers.follow,
        ChangeKind.AUTHORITY: trust.follow,
        ChangeKind.FEDERATION: known.federation.follow,
        ChangeKind.NODE: known.agents.follow,
        ChangeKind.ENDPOINTS: enforced.proxies.hear,
        ChangeKind.INTENT: enforced.intent.follow,
        ChangeKind.FABRIC_CLAIM: admitting.members.follow,  # last: it is judged by all of the others
    }
    for kind, take in followers.items():
        known.feed.tell(kind, take)
    if servers.shared:  # these were read before the revision that the feed goes on from, and may be older
        await servers.follow()
        await trust.follow()


async def load_issuing(start: Start, trust: Trust, known: Known) -> Issuing:
    """The server's own SVID, made anew, and the attestors that are asked for; raises INVALID for files of theirs."""
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
    attestors = [tokens, *await asyncio.to_thread(lambda: list(node_attestors(config, clock)))]
    admission = Admission(config.trust_domain, attestors, known.agents, issuer, clock=clock)
    return Issuing(issuer, identity, tokens, admission)


async def load_revoking(start: Start, trust: Trust, known: Known) -> Revoking:
    """Who revokes; a list that a crash may have left unmade is made."""
    store, audit = start.opened.store, start.opened.audit
    revoker = Revoker(store, known.feed, trust.authority, clock=start.clock, audit=audit)
    await revoker.make_lists()
    return Revoking(revoker, Doorkeeper(known.feed.revoked, trust, start.bell))
