"""The stream of one connected agent: a reader that answers, in the order asked, and a watcher that pushes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker import events
from ringfence.broker.federation.hastening import AGENT
from ringfence.broker.federation.schedule import SOONEST
from ringfence.broker.issue import Answer, Wanted
from ringfence.broker.server import agent_messages as say
from ringfence.broker.server.agent_fabrics import AgentFabrics
from ringfence.broker.server.agent_news import News
from ringfence.broker.server.agents import Ended
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_key
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid
from ringfence.proto.lane import Call

if TYPE_CHECKING:
    from ringfence.broker.server.agent_api import AgentApi


class AgentStream:
    """Ends with the SVID that *agent* came with or renewed here. *hello* is its first message.

    *fabrics* is there for an agent that keeps its node's.
    """

    def __init__(self, api: AgentApi, call: Call, agent: SpiffeId, hello: Any, fabrics: AgentFabrics | None) -> None:
        self._api = api
        self._call = call
        self._agent = agent
        self._fabrics = fabrics
        self._news = News(
            agent,
            hello,
            _issuer_of(call.peer.certificate or b""),
            registry=api.registry,
            trust=api.trust,
            federation=api.federation,
            revoked=api.revoked,
            fabrics=fabrics,
        )
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
        for message in self._news.take(first=first):
            await self._call.send(message)

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
                case "fabric_claims" | "fabric_applied":
                    self._hear_of_fabrics(message)
                    continue
                case _:
                    continue  # a newer agent's message: it has to do without an answer
            await self._call.send(answer)

    def _hear_of_fabrics(self, message: Any) -> None:
        if self._fabrics is None:
            raise RingfenceError(
                Kind.INVALID,
                "an agent that keeps fabrics says so in its hello",
                hint="Run servers and agents of one version",
            )
        if message.WhichOneof("message") == "fabric_claims":
            self._fabrics.claims(message.fabric_claims)
        else:
            self._fabrics.applied(message.fabric_applied)

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
            events.key_missed(AGENT, "waits")
            return
        self._again_after = now + SOONEST.total_seconds()
        if self._api.feed is not None:
            with suppress(RingfenceError):  # the database is away: then what we know is the newest there is
                await self._api.feed.catch_up()
        self._news.forget_bundle()
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
        self._news.issuer = _issuer_of(chain[0])
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
