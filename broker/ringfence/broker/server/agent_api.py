"""The agent API: attestation, and the one stream on which an agent asks and is pushed to."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker import events
from ringfence.broker.attest.node_port import NONCE_BYTES, Asked, Evidence
from ringfence.broker.audit.actor import acting
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import record
from ringfence.broker.bell import Bell
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.hastening import TOKEN, Hastening
from ringfence.broker.federation.schedule import SOONEST
from ringfence.broker.feed import Feed
from ringfence.broker.issue import Answer, Issuer, Wanted
from ringfence.broker.registry import Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.server import agent_messages as say
from ringfence.broker.server.admission import Admission
from ringfence.broker.server.agents import Agents, Ended
from ringfence.broker.telemetry.names import ATTEST
from ringfence.broker.telemetry.names import ATTESTOR as ATTESTOR_NAME
from ringfence.broker.telemetry.spans import span
from ringfence.broker.trust import SPREAD_MS, Trust
from ringfence.certs.bundle import digest_of
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_key
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid
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
            stream = _AgentStream(self, call, agent, first.hello)
            events.agent_connected(agent, call.peer.address, first.hello.version)
            try:
                await stream.serve(ended)
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


class _AgentStream:
    """One connected agent: a reader that answers, in the order asked, and a watcher that pushes."""

    def __init__(self, api: AgentApi, call: Call, agent: SpiffeId, hello: Any) -> None:
        self._api = api
        self._call = call
        self._agent = agent
        self._revision: int = hello.revision
        self._digest: bytes = hello.bundle_digest
        self._federated: bytes = hello.federated_digest
        self._revoked: bytes = hello.revoked_digest
        self._revoked_version = -1  # of what was looked up last
        self._looked_at = (-1, -1)  # revision and federation, of the foreign bundles last looked up
        self._rotations = api.trust.rotations
        self._tainted: frozenset[str] = frozenset()
        self._issuer = _issuer_of(call.peer.certificate or b"")
        self._changed = asyncio.Event()
        self._again_after = 0.0  # of the event loop: no bundle is sent again before

    async def serve(self, ended: Ended) -> None:
        """Until the agent half-closes; raises UNAUTHENTICATED at the end of its SVID, and what *ended* says."""
        if ended.done():
            ended.result()
        try:
            async with asyncio.timeout(self._left(self._call.peer.certificate or b"")) as self._limit:
                async with asyncio.TaskGroup() as tasks:
                    watcher = tasks.create_task(self._watch())
                    waiter = tasks.create_task(_until(ended))
                    await self._read()
                    watcher.cancel()
                    waiter.cancel()
        except TimeoutError:
            raise RingfenceError(Kind.UNAUTHENTICATED, f"the SVID of {self._agent} has ended") from None
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _watch(self) -> None:
        first = True
        with self._api.bell.listen() as changed:
            self._changed = changed
            while True:
                changed.clear()
                await self._tell(first=first)
                first = False
                await changed.wait()

    async def _tell(self, *, first: bool) -> None:
        # Of its own, so that no message outlives its sending: one of 2,000 entries is a megabyte an agent.
        for message in self._news(first=first):
            await self._call.send(message)

    def _news(self, *, first: bool) -> Iterator[Any]:
        """All that this agent does not know yet: what is revoked, then the bundle, then the entries that need it."""
        api = self._api
        yield from self._revocations()
        yield from self._bundles()
        if first or api.registry.revision != self._revision:
            delta = api.registry.delta(self._agent, self._revision)
            lost = say.revocations(delta, api.registry, self._agent)
            self._revision = delta.revision
            yield from say.entries_updates(delta)
            yield from filter(None, [lost])
        if api.trust.rotations != self._rotations:
            self._rotations = api.trust.rotations
            yield pb.ServerMessage(rotate=pb.Rotate(spread_ms=SPREAD_MS))
        tainted = api.trust.tainted
        if fresh := sorted(tainted - self._tainted):
            # Told anew to everyone who connects, so that no agent misses it that was away, and no restart of ours.
            yield pb.ServerMessage(rotate=pb.Rotate(spread_ms=SPREAD_MS, authorities=fresh))
        self._tainted = tainted

    def _check_issuer(self) -> None:
        """Raise UNAUTHENTICATED when whoever signed the agent's SVID was revoked: nothing more is said to it."""
        if self._issuer not in self._api.trust.issuers:
            raise RingfenceError(
                Kind.UNAUTHENTICATED,
                f"the authority that signed the SVID of {self._agent} was revoked",
                hint="Attest it anew with `ringfence token generate`",
            )

    def _revocations(self) -> list[Any]:
        """What is revoked, whole, if it is anything else than the agent holds, also from before it was away."""
        held = self._api.revoked
        if held.version == self._revoked_version:
            return []
        self._revoked_version = held.version
        revoked = say.revoked(held, self._agent)
        digest = hashlib.sha256(revoked).digest() if revoked else b""
        if digest == self._revoked:
            return []
        self._revoked = digest
        return [pb.ServerMessage(revoked=pb.RevokedUpdate(revoked=revoked))]

    def _bundles(self) -> list[Any]:
        """Our bundle if it is not known; with it, or when they change, those that the agent's entries federate with."""
        api, bundle = self._api, self._api.trust.bundle.to_json()
        digest = hashlib.sha256(bundle).digest()
        if digest != self._digest:
            self._check_issuer()
        looked_at = (api.registry.revision, api.federation.version)
        if digest == self._digest and looked_at == self._looked_at:
            return []
        self._looked_at = looked_at
        others = api.federation.bundles_for(api.registry.entitled(self._agent))
        federated = digest_of(others.values())
        if (digest, federated) == (self._digest, self._federated):
            return []
        update = pb.BundleUpdate(federated={domain.name: other.to_json() for domain, other in others.items()})
        if digest != self._digest:
            update.bundle = bundle
        self._digest, self._federated = digest, federated
        return [pb.ServerMessage(bundle=update)]

    async def _read(self) -> None:
        while (message := await self._call.receive()) is not None:
            match message.WhichOneof("message"):
                case "svids":
                    answer = await self._svids(message.svids)
                case "jwt":
                    answer = await self._jwt(message.jwt)
                case "wit":
                    answer = await self._wit(message.wit)
                case "renew":
                    answer = await self._renew(message.renew)
                case "unknown_key":
                    await self._look_for(message.unknown_key.trust_domain)
                    continue  # what is found is pushed
                case _:
                    continue  # a newer agent's message: it has to do without an answer
            await self._call.send(answer)

    async def _look_for(self, name: str) -> None:
        """Have a key found that this agent misses: in our own bundle, or in that of a trust domain named *name*."""
        if name == self._agent.trust_domain.name:
            await self._bundle_again()
        elif self._api.hastening is not None:
            self._api.hastening.missed_by_agent(self._agent, name)

    async def _bundle_again(self) -> None:
        """Send our bundle, the newest, whatever the agent was sent before; seldom, for it may ask without need."""
        now = asyncio.get_running_loop().time()
        if now < self._again_after:
            events.key_missed(TOKEN, "waits")
            return
        self._again_after = now + SOONEST.total_seconds()
        if self._api.feed is not None:
            with suppress(RingfenceError):  # the database is away: then what we know is the newest there is
                await self._api.feed.catch_up()
        self._digest = b""
        self._changed.set()
        events.bundle_sent_again(self._agent)

    async def _svids(self, request: Any) -> Any:
        wanted = [Wanted(item.entry_id, item.csr) for item in request.items]
        try:
            answers = await self._api.issuer.workload_svids(self._agent, wanted)
        except RingfenceError as error:
            answers = [Answer(item.entry_id, refused=error) for item in wanted]
        return say.svid_response(request.id, answers)

    async def _jwt(self, request: Any) -> Any:
        try:
            token, ends = await self._api.issuer.jwt_svid(self._agent, request.entry_id, request.audience)
        except RingfenceError as error:
            return say.jwt_refused(request.id, error)
        response = pb.JwtResponse(id=request.id, token=token, expires_at=int(ends.timestamp()))
        return pb.ServerMessage(jwt=response)

    async def _wit(self, request: Any) -> Any:
        try:
            token, ends = await self._api.issuer.wit_svid(self._agent, request.entry_id, request.csr)
        except RingfenceError as error:
            return say.wit_refused(request.id, error)
        return pb.ServerMessage(wit=pb.WitResponse(id=request.id, token=token, expires_at=int(ends.timestamp())))

    async def _renew(self, request: Any) -> Any:
        api = self._api
        drafts: list[LeafDraft] = []
        try:
            api.agents.admitted(self._agent)
            key = csr_public_key(request.csr)
            chain = await api.issuer.own_svid(self._agent, key, on_draft=drafts.append)
            draft = drafts[0]
            await api.agents.renewed(self._agent, f"{draft.serial:032x}", int(draft.not_after.timestamp()))
        except RingfenceError as error:
            return say.renew_refused(request.id, error)
        self._issuer = _issuer_of(chain[0])
        self._limit.reschedule(asyncio.get_running_loop().time() + self._left(chain[0]))
        return pb.ServerMessage(renew=pb.RenewResponse(id=request.id, chain=chain))

    def _left(self, leaf: bytes) -> float:
        """Seconds until that SVID ends."""
        return max((parse_svid([leaf]).not_after - self._api.clock()).total_seconds(), 0)


async def _until(ended: Ended) -> None:
    # Shielded: whoever stops waiting does not end it for others.
    await asyncio.shield(ended)


def _issuer_of(leaf: bytes) -> str:
    return issuer_key_id(read_certificate(leaf))
