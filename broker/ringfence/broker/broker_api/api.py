"""The four calls of the SPIFFE Broker API: the Workload API's answers, about a workload that the request names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ringfence.broker.agent.answers import Answers
from ringfence.broker.agent.requests import TokenRequest, check_header, jwt_svids, read_request
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import NO_IDENTITY, Watch
from ringfence.broker.agent.watches import Watches
from ringfence.broker.agent.workload_api import has_some, has_svids, is_entitled
from ringfence.broker.broker_api.references import References
from ringfence.broker.broker_api.refusals import of_the_workload
from ringfence.broker.broker_api.sessions import Session, Sessions
from ringfence.proto import broker as wire
from ringfence.proto import reflection
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.reflection import Reflection
from ringfence.proto.status import Code, Status

Ready = Callable[[View], bool]


class BrokerApi:
    """Every call is about one workload, and every message of a stream is its whole state; streams end by Status."""

    def __init__(self, sessions: Sessions, references: References, watches: Watches, tokens: Tokens) -> None:
        self._sessions = sessions
        self._references = references
        self._watches = watches
        self._tokens = tokens
        self._reflection = Reflection(wire.POOL)
        self._answers = Answers()  # both APIs' answers are the same on the wire

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        handlers = {
            "SubscribeToX509SVID": self._x509_svid,
            "SubscribeToX509Bundles": self._x509_bundles,
            "FetchJWTSVID": self._jwt_svid,
            "SubscribeToJWTBundles": self._jwt_bundles,
        }
        reflect = {"ServerReflectionInfo": self._reflect}
        return methods_of(wire.DESCRIPTOR, handlers, peer_certificate=True) | methods_of(
            reflection.DESCRIPTOR, reflect, peer_certificate=True
        )

    async def _x509_svid(self, call: Call) -> None:
        request = await read_request(call, wire.SECURITY_HEADER)
        async with self._workload(call, request) as (watch, once):
            async for view in watch.views(once(has_svids), lambda view: view.key, has_some):
                await call.send(self._answers.x509_svids(view))

    async def _x509_bundles(self, call: Call) -> None:
        request = await read_request(call, wire.SECURITY_HEADER)
        async with self._workload(call, request) as (watch, once):
            async for view in watch.views(once(is_entitled), lambda view: view.entitled):
                await call.send(self._answers.x509_bundles(view))

    async def _jwt_bundles(self, call: Call) -> None:
        request = await read_request(call, wire.SECURITY_HEADER)
        async with self._workload(call, request) as (watch, once):
            async for view in watch.views(once(is_entitled), lambda view: view.entitled):
                await call.send(self._answers.jwt_bundles(view))

    async def _jwt_svid(self, call: Call) -> None:
        request = await read_request(call, wire.SECURITY_HEADER)
        asked = TokenRequest.read(request)
        async with self._workload(call, request, asked.is_met) as (watch, once):
            answer = await jwt_svids(asked, watch, self._tokens, once(asked.is_met))
        await call.send(answer)

    async def _reflect(self, call: Call) -> None:
        check_header(call, wire.SECURITY_HEADER)
        self._sessions.of(call.connection)
        if not call.peer.is_local:
            raise Status(Code.UNIMPLEMENTED, "reflection is for brokers of this node")
        await self._reflection.serve(call)

    @asynccontextmanager
    async def _workload(
        self, call: Call, request: Any, entitled: Ready = is_entitled
    ) -> AsyncIterator[tuple[Watch, Callable[[Ready], Ready]]]:
        """A watch of the workload that *request* names, and what turns its conditions into those of a broker."""
        # 1. The broker is still whom its certificate says.
        session = self._sessions.of(call.connection)
        with of_the_workload():
            # 2. The workload is resolved and attested here; when it ends, so does the call, whatever it waits for.
            workload = self._references.held(request, session.broker, call.cut, local=call.peer.is_local)
            # 3. It is matched as if it had called itself, and shown nothing else.
            async with workload as subject:
                with self._watches.open(subject) as watch:
                    yield watch, lambda ready: self._checked(session, entitled, ready)

    def _checked(self, session: Session, entitled: Ready, ready: Ready) -> Ready:
        """*ready*, before each message: a broker is told at once that a workload has nothing, and does not wait."""

        def check(view: View) -> bool:
            session.check()
            if not view.entries:
                raise self._watches.refusal(view)
            if not entitled(view):
                raise Status(Code.PERMISSION_DENIED, NO_IDENTITY)
            return ready(view)

        return check
