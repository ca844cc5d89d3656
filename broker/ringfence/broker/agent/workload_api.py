"""The SPIFFE Workload API on the agent's socket (SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md)."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.broker.agent.answers import Answers
from ringfence.broker.agent.requests import TokenRequest, jwt_svids, read_request
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.unknown import UnknownKeys
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import Watch
from ringfence.broker.agent.watches import Watches
from ringfence.certs.errors import RingfenceError
from ringfence.proto import workload
from ringfence.proto.lane import Call, Framed, Method, methods_of
from ringfence.proto.status import Code, Status

_HEADER = workload.SECURITY_HEADER


class WorkloadApi:
    """The five RPCs. Every stream message is the whole state; streams end by Status, never with OK."""

    def __init__(
        self, watches: Watches, tokens: Tokens, tell_unknown: Callable[[str, str], bool] = lambda *_: False
    ) -> None:
        self._watches = watches
        self._tokens = tokens
        self._answers = Answers()
        self._unknown = UnknownKeys(tell_unknown)

    def methods(self) -> dict[str, Method]:
        """For the lane, by path."""
        return methods_of(
            workload.DESCRIPTOR,
            {
                "FetchX509SVID": self._fetch_x509_svid,
                "FetchX509Bundles": self._fetch_x509_bundles,
                "FetchJWTSVID": self._fetch_jwt_svid,
                "FetchJWTBundles": self._fetch_jwt_bundles,
                "ValidateJWTSVID": self._validate_jwt_svid,
            },
        )

    async def _fetch_x509_svid(self, call: Call) -> None:
        await read_request(call, _HEADER)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            await _stream(call, watch, self._answers.x509_svids, has_svids, lambda view: view.key, has_some)

    async def _fetch_x509_bundles(self, call: Call) -> None:
        await read_request(call, _HEADER)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            await _stream(call, watch, self._answers.x509_bundles, is_entitled, lambda view: view.entitled)

    async def _fetch_jwt_bundles(self, call: Call) -> None:
        await read_request(call, _HEADER)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            await _stream(call, watch, self._answers.jwt_bundles, is_entitled, lambda view: view.entitled)

    async def _fetch_jwt_svid(self, call: Call) -> None:
        asked = TokenRequest.read(await read_request(call, _HEADER))
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            answer = await jwt_svids(asked, watch, self._tokens, asked.is_met)
        await call.send(answer)

    async def _validate_jwt_svid(self, call: Call) -> None:
        from ringfence.certs.jwt_svid import validate_jwt  # JOSE only for those who use it

        request = await read_request(call, _HEADER)
        if not request.audience or not request.svid:
            raise Status(Code.INVALID_ARGUMENT, "audience and svid must be set")
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            view = await self._unknown.view_for(request.svid, watch, await watch.first(is_entitled))
        now = self._watches.cache.clock()
        try:
            found = validate_jwt(request.svid, request.audience, view.bundles.all, now=now)
        except RingfenceError as error:
            raise Status(Code.INVALID_ARGUMENT, error.detail) from None
        if self._watches.cache.revoked.is_identity(found.spiffe_id):
            raise Status(Code.INVALID_ARGUMENT, f"{found.spiffe_id} was revoked")
        answer = workload.ValidateJWTSVIDResponse(spiffe_id=str(found.spiffe_id))
        answer.claims.update({**found.claims, "aud": list(found.audience)})
        await call.send(answer)


async def _stream(
    call: Call,
    watch: Watch,
    answer: Callable[[View], Framed],
    ready: Callable[[View], bool],
    same: Callable[[View], object],
    enough: Callable[[View], bool] = lambda _: False,
) -> None:
    """Send an *answer* for each view; ends as `Watch.views` does."""
    async for view in watch.views(ready, same, enough, send=lambda view: call.try_send(answer(view))):
        await call.send(answer(view))


def has_svids(view: View) -> bool:
    """Whether all that the caller is entitled to, and that can be had, is there."""
    return bool(view.held) and not view.waits


def has_some(view: View) -> bool:
    """Whether there is anything to show."""
    return bool(view.held)


def is_entitled(view: View) -> bool:
    """Whether the caller has any identity, issued yet or not."""
    return bool(view.entries)
