"""The admin API: what operators may say to a server; which of them may say what is for the guard (broker/access)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.access import api as access_api
from ringfence.broker.access.present import present
from ringfence.broker.attest.join_token import JoinTokens
from ringfence.broker.fabric.members import Members
from ringfence.broker.federation.federation import Federation
from ringfence.broker.feed import Feed
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.intent import Intent
from ringfence.broker.registry import Registry
from ringfence.broker.revoking import Revoker
from ringfence.broker.server import admin_messages as say
from ringfence.broker.server.agents import Agents
from ringfence.broker.server.authority_api import AuthorityApi
from ringfence.broker.server.doorkeeper import Doorkeeper
from ringfence.broker.server.entry_api import EntryApi
from ringfence.broker.server.fabric_api import FabricApi
from ringfence.broker.server.federation_api import FederationApi
from ringfence.broker.server.identity import ServerIdentity
from ringfence.broker.server.inventory_api import InventoryApi
from ringfence.broker.server.node_api import NodeApi
from ringfence.broker.server.policy_api import PolicyApi
from ringfence.broker.server.proxy_api import ProxyAdminApi
from ringfence.broker.server.revocation_api import RevocationApi
from ringfence.broker.server.servers_api import ServersApi
from ringfence.broker.servers import Servers
from ringfence.broker.store.document import Document
from ringfence.broker.store.engine import Store
from ringfence.broker.trust import Trust
from ringfence.broker.version import VERSION
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Call, Connection, Handler, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Code, Status


class Evidence(Protocol):
    """Whoever keeps decisions."""

    def check(self, asked: pb.CheckAuthzRequest) -> pb.Decision:
        """What the model says of one request."""

    async def explain(self, decision_id: str, wait_seconds: float) -> Sequence[pb.Decision]:
        """The decisions of that id, waiting for the first one."""

    def tail(self, asked: pb.TailAuthzRequest) -> AsyncIterator[pb.Decision]:
        """The kept decisions asked for, then (follow) those to come."""

    async def list_departures(self, asked: pb.ListDeparturesRequest) -> pb.ListDeparturesResponse:
        """What tried to leave the mesh."""


class Proxies(Protocol):
    """Whoever serves proxies."""

    @property
    def fleet(self) -> Fleet:
        """All that are connected."""


def only_own_user(connection: Connection) -> None:
    """The lane's `on_connect`: the peer's uid, which the kernel vouches for, is the server's own or root's."""
    if connection.peer.uid not in {os.geteuid(), 0}:
        raise Status(Code.PERMISSION_DENIED, "only the server's own user and root may use its admin socket")


@dataclass(frozen=True, slots=True)
class AdminApi:
    """The service `ringfence.admin.v1.Server`."""

    store: Store
    feed: Feed
    registry: Registry
    trust: Trust
    tokens: JoinTokens
    agents: Agents
    identity: ServerIdentity
    intent: Intent
    evidence: Evidence
    proxies: Proxies
    clock: Callable[[], datetime]
    federation: Federation
    revoker: Revoker
    doorkeeper: Doorkeeper
    servers: Servers
    members: Members

    @property
    def entries(self) -> EntryApi:
        """Its part for registrations."""
        return EntryApi(self.store, self.feed, self.registry, self.trust.bundle.trust_domain, self.clock)

    def methods(self) -> dict[str, Method]:
        """What the admin lane serves, by path."""
        unary: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "Info": self.info,
            "GenerateToken": self.generate_token,
            "ShowBundle": self.show_bundle,
            "ApplyPolicy": self.apply_policy,
            "CheckAuthz": self.check_authz,
            "ExplainAuthz": self.explain_authz,
            "ListDepartures": self.evidence.list_departures,
        }
        proxies = ProxyAdminApi(self.proxies.fleet, self.clock)
        unary |= proxies.unary()
        unary |= PolicyApi(self.intent, self.proxies.fleet).unary()
        unary |= AuthorityApi(self.trust, self.identity, self.agents).unary()
        unary |= ServersApi(self.servers, self.trust, self.feed, self.clock).unary()
        unary |= FabricApi(self.members, self.servers.me.id).unary()
        unary |= FederationApi(self.federation, self.registry, self.store, self.feed).unary()
        nodes = NodeApi(self.agents, self.trust.bundle.trust_domain)
        unary |= nodes.unary()
        unary |= RevocationApi(self.revoker, self.doorkeeper, nodes, self._connected_proxies).unary()
        unary |= InventoryApi(self.store, self.registry, self.intent, self.trust, self.clock).unary()
        unary |= access_api.unary()
        entries = self.entries
        handlers = {name: _unary(answer) for name, answer in (unary | entries.unary()).items()}
        streams = {"TailAuthz": self.tail_authz, "ApplyEntries": entries.apply, **proxies.streams()}
        return methods_of(service_of(pb, "Server"), handlers | streams)

    def _connected_proxies(self) -> int:
        return len(self.proxies.fleet.connected)

    async def info(self, _: pb.InfoRequest) -> pb.InfoResponse:
        """What this server is and how much it holds."""
        return pb.InfoResponse(
            version=VERSION,
            trust_domain=self.trust.bundle.trust_domain.name,
            revision=self.registry.revision,
            ready=self.registry.loaded,
            agents=self.agents.connected,
            proxies=self._connected_proxies(),
            entries=len(self.registry),
            spiffe_id=str(self.identity.spiffe_id),
        )

    async def generate_token(self, asked: pb.GenerateTokenRequest) -> pb.GenerateTokenResponse:
        """A join token."""
        token, expires_at = await self.tokens.generate(asked.ttl)
        return pb.GenerateTokenResponse(token=token, expires_at=expires_at)

    async def show_bundle(self, _: pb.ShowBundleRequest) -> pb.ShowBundleResponse:
        """The trust bundle."""
        return pb.ShowBundleResponse(bundle=self.trust.bundle.to_json())

    async def apply_policy(self, asked: pb.ApplyPolicyRequest) -> pb.ApplyPolicyResponse:
        """Put documents in force, or say everything that is wrong with them."""
        from ringfence.broker.access.documents import IntentPermit  # a start needs none

        texts = [Document(document.path, document.text) for document in asked.documents]
        outcome = await self.intent.apply(
            texts,
            author=asked.author[:256],
            commit=asked.commit[:64],
            dry_run=asked.dry_run,
            permit=IntentPermit(present()),
        )
        return say.apply_response(outcome)

    async def check_authz(self, asked: pb.CheckAuthzRequest) -> pb.Decision:
        """What the model says of one request."""
        return self.evidence.check(asked)

    async def explain_authz(self, asked: pb.ExplainAuthzRequest) -> pb.ExplainAuthzResponse:
        """The decisions of one id."""
        return pb.ExplainAuthzResponse(decisions=await self.evidence.explain(asked.id, asked.wait_ms / 1000))

    async def tail_authz(self, call: Call) -> None:
        """Decisions as a stream."""
        asked = await call.receive()
        async for decision in self.evidence.tail(asked or pb.TailAuthzRequest()):
            await call.send(decision)


def _unary(answer: Callable[[Any], Awaitable[Any]]) -> Handler:
    async def handler(call: Call) -> None:
        request = await call.receive()
        if request is None:
            raise RingfenceError(Kind.INVALID, "the call had no request")
        await call.send(await answer(request))

    return handler
