"""The agent API: attestation, and the one stream on which an agent asks and is pushed to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker import events
from ringfence.broker.attest.node_port import NONCE_BYTES, Asked, Evidence
from ringfence.broker.audit.actor import acting
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import record
from ringfence.broker.bell import Bell
from ringfence.broker.fabric.admitting import Admitting
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import Hastening
from ringfence.broker.feed import Feed
from ringfence.broker.issue import Issuer
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.server.admission import Admission
from ringfence.broker.server.agent_fabrics import AgentFabrics
from ringfence.broker.server.agent_stream import AgentStream
from ringfence.broker.server.agents import Agents
from ringfence.broker.telemetry.names import ATTEST
from ringfence.broker.telemetry.names import ATTESTOR as ATTESTOR_NAME
from ringfence.broker.telemetry.spans import span
from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.lane.peer import Peer
from ringfence.proto.service import service_of

_SERVICE = service_of(pb, "Agent")
_NONCE, _PENDING = "nonce", "pending"  # in Connection.context


@dataclass(frozen=True, slots=True)
class AgentApi:
    """The service `ringfence.agent.v1.Agent`."""

    registry: Registry
    trust: Trust
    issuer: Issuer
    admission: Admission
    agents: Agents
    bell: Bell
    clock: Callable[[], datetime]
    federation: Federation
    audit: AuditLog | None = None
    revoked: Revoked = field(default_factory=Revoked)
    hastening: Hastening | None = None
    admitting: Admitting | None = None  # members of fabrics
    feed: Feed | None = None  # with other servers: what they know and we may not, yet

    def methods(self) -> dict[str, Method]:
        """What the lane serves, by path."""
        open_to_all = methods_of(_SERVICE, {"Attest": self.attest, "Challenge": self.challenge})
        return open_to_all | methods_of(_SERVICE, {"Connect": self.connect}, peer_certificate=True)

    async def challenge(self, call: Call) -> None:
        """A nonce for one proof on this very connection; another one replaces it, so a peer holds one at most."""
        nonce = call.connection.context[_NONCE] = secrets.token_bytes(NONCE_BYTES)
        await call.send(pb.ChallengeResponse(nonce=nonce))

    async def attest(self, call: Call) -> None:
        """Turn evidence into the agent's first SVID, or into what is asked of it first."""
        request = await call.receive() or pb.AttestRequest()
        # Good for one try, however that ends.
        context = call.connection.context
        nonce, pending = context.pop(_NONCE, b""), context.pop(_PENDING, None)
        kind = request.WhichOneof("evidence") or ""
        with span(ATTEST, {ATTESTOR_NAME: kind}):
            try:
                given = getattr(request, kind) if kind else None
                with acting(call.peer.address):
                    admitted = await self.admission.admit(kind, Evidence(given, request.csr, nonce, pending))
            except RingfenceError as error:
                events.attestation_failed(kind, call.peer.address, error)
                raise
        if isinstance(admitted, Asked):
            context[_PENDING] = admitted.pending
            await call.send(admitted.answer)
            return
        node, chain = admitted
        proof = {"attestor": node.attestor, "serial": node.serial, "address": call.peer.address}
        await record(self.audit, Event("node.attest", node.spiffe_id, detail=proof, actor=node.spiffe_id))
        events.attested(kind, node.spiffe_id, call.peer.address)
        await call.send(pb.AttestResponse(spiffe_id=node.spiffe_id, chain=chain, bundle=self.trust.bundle.to_json()))

    async def connect(self, call: Call) -> None:
        """Serve one agent until it leaves, or until the SVID that it came with and renewed here has ended."""
        agent = await self._authenticated(call.peer)
        with self.agents.stream(agent) as ended:
            first = await call.receive()
            if first is None or first.WhichOneof("message") != "hello":
                raise RingfenceError(Kind.INVALID, "an agent's first message is its hello")
            if self.feed is not None and first.hello.revision > self.registry.revision:
                await self.feed.catch_up()  # another server told it more than we know: never take that from it
            elif self.feed is not None and first.hello.fabrics:
                with suppress(RingfenceError):  # the database is away: then what we know is the newest there is
                    await self.feed.catch_up()  # who was a member at another server a moment ago, is one here
            events.agent_connected(agent, call.peer.address, first.hello.version)
            try:
                with AgentFabrics.of_stream(self.admitting, agent, first.hello) as fabrics:
                    await AgentStream(self, call, agent, first.hello, fabrics).serve(ended)
            finally:
                events.agent_left(agent, call.peer.address)

    async def _authenticated(self, peer: Peer) -> SpiffeId:
        """The agent at the other end, who may have attested elsewhere a moment ago; raises as `authenticate`."""
        try:
            return self.agents.authenticate(peer)
        except RingfenceError:
            if self.feed is None:
                raise
        await self.feed.catch_up()
        return self.agents.authenticate(peer)
