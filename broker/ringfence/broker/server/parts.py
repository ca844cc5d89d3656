"""The parts of a server: everything that serves, loaded in an order that has nobody served before it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.bell import Bell
from ringfence.broker.config import ServerConfig
from ringfence.broker.fabric.admitting import Admitting
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.feed import Feed
from ringfence.broker.intent import Intent
from ringfence.broker.issue import Issuer
from ringfence.broker.nested.below import DownstreamApi
from ringfence.broker.registry import Registry
from ringfence.broker.revoking import Revoker
from ringfence.broker.server.admin_api import AdminApi
from ringfence.broker.server.agent_api import AgentApi
from ringfence.broker.server.doorkeeper import Doorkeeper
from ringfence.broker.server.evidence import ServerEvidence
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.server.loading import (
    Enforced,
    Issuing,
    Known,
    Revoking,
    Start,
    follow_others,
    load_authority,
    load_enforced,
    load_issuing,
    load_known,
    load_members,
    load_revoking,
)
from ringfence.broker.server.opened import Clock, open_all
from ringfence.broker.server.proxies import ServerProxies
from ringfence.broker.servers import Servers
from ringfence.broker.signing.port import Signing
from ringfence.broker.store.engine import Store
from ringfence.broker.trust import Trust
from ringfence.proto.lane import Method


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
    admitting: Admitting

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
    async with AsyncExitStack() as undo:
        opened = await open_all(config, clock, undo)
        parts = await _load(Start(config, clock, Bell(), opened))
        undo.pop_all()
        return parts


async def _load(start: Start) -> Parts:
    # 1. The authority: the same keys as before, or the first ones.
    trust = await load_authority(start)
    # 2. Registrations, bundles of others and admitted agents.
    known = await load_known(start, trust)
    # 3. The intent in force, what proxies and fabrics are to hold; then all that other servers change.
    enforced = await load_enforced(start, trust, known)
    admitting = await load_members(start, known, enforced)
    await follow_others(start.opened.servers, trust, known, enforced, admitting)
    # 4. The server's own identity.
    issuing = await load_issuing(start, trust, known)
    # 5. What was revoked, which a crash may have left without its list.
    revoking = await load_revoking(start, trust, known)
    # 6. Who answers.
    return _assemble(start, trust, known, enforced, issuing=issuing, revoking=revoking, admitting=admitting)


def _assemble(
    start: Start,
    trust: Trust,
    known: Known,
    enforced: Enforced,
    *,
    issuing: Issuing,
    revoking: Revoking,
    admitting: Admitting,
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
        admitting=admitting,
        feed=feed if opened.servers.shared else None,
    )
    admin_api = AdminApi(
        *(opened.store, feed, registry, trust, issuing.tokens, agents, issuing.identity),
        *(enforced.intent, evidence, enforced.proxies, clock, federation),
        *(revoking.revoker, revoking.doorkeeper, opened.servers, admitting.members),
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
        admitting=admitting,
    )
