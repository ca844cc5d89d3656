"""The SPIFFE Workload API on the agent's socket (SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ringfence.broker.agent.answers import Answers
from ringfence.broker.agent.cache import View
from ringfence.broker.agent.entries import Entry, unique_hints
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.watch import NO_IDENTITY, Watches
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.status import Code, Status

_HEADER, _VALUE = workload.SECURITY_HEADER
_MAX_AUDIENCES = 64


class WorkloadApi:
    """The five RPCs. Every stream message is the whole state; streams end by Status, never with OK."""

    def __init__(self, watches: Watches, tokens: Tokens) -> None:
        self._watches = watches
        self._tokens = tokens
        self._answers = Answers()

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
        await _open(call)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            async for view in watch.views(has_svids, lambda view: view.key, has_some):
                await call.send(self._answers.x509_svids(view))

    async def _fetch_x509_bundles(self, call: Call) -> None:
        await _open(call)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            async for view in watch.views(is_entitled, lambda view: view.entitled):
                await call.send(self._answers.x509_bundles(view))

    async def _fetch_jwt_bundles(self, call: Call) -> None:
        await _open(call)
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            async for view in watch.views(is_entitled, lambda view: view.entitled):
                await call.send(self._answers.jwt_bundles(view))

    async def _fetch_jwt_svid(self, call: Call) -> None:
        request = await _open(call)
        audience = _audience(request.audience)
        wanted = _spiffe_id(request.spiffe_id) if request.spiffe_id else None
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            view = await watch.first(lambda view: bool(_named(view.entries, wanted)))
            entries = unique_hints(_named(view.entries, wanted))
            issued = [await self._tokens.get(entry, audience) for entry, _ in entries]
            # Entitlement may have ended while the server was asked.
            view = await watch.first(lambda view: bool(view.entries))
            if not {entry.id for entry, _ in entries} <= {entry.id for entry in view.entries}:
                raise Status(Code.PERMISSION_DENIED, NO_IDENTITY)
        answer = workload.JWTSVIDResponse()
        for (entry, hint), token in zip(entries, issued, strict=True):
            answer.svids.add(spiffe_id=str(entry.spiffe_id), svid=token, hint=hint)
        await call.send(answer)

    async def _validate_jwt_svid(self, call: Call) -> None:
        from ringfence.certs.jwt_svid import validate_jwt  # JOSE only for those who use it

        request = await _open(call)
        if not request.audience or not request.svid:
            raise Status(Code.INVALID_ARGUMENT, "audience and svid must be set")
        with self._watches.open(await self._watches.of(call.connection)) as watch:
            view = await watch.first(is_entitled)
        now = self._watches.cache.clock()
        try:
            found = validate_jwt(request.svid, request.audience, view.bundles.all, now=now)
        except RingfenceError as error:
            raise Status(Code.INVALID_ARGUMENT, error.detail) from None
        answer = workload.ValidateJWTSVIDResponse(spiffe_id=str(found.spiffe_id))
        answer.claims.update({**found.claims, "aud": list(found.audience)})
        await call.send(answer)


def has_svids(view: View) -> bool:
    """Whether all that the caller is entitled to, and that can be had, is there."""
    return bool(view.held) and not view.waits


def has_some(view: View) -> bool:
    """Whether there is anything to show."""
    return bool(view.held)


def is_entitled(view: View) -> bool:
    """Whether the caller has any identity, issued yet or not."""
    return bool(view.entries)


async def _open(call: Call) -> Any:
    """The request, once the security header is there (SPIFFE_Workload_Endpoint.md section 3: against SSRF)."""
    if call.metadata.get(_HEADER) != (_VALUE,):
        raise Status(Code.INVALID_ARGUMENT, "security header missing from request")
    request = await call.receive()
    if request is None:
        raise Status(Code.INVALID_ARGUMENT, "the request is missing")
    return request


def _audience(audience: Iterable[str]) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(audience))
    if not asked or not all(asked):
        raise Status(Code.INVALID_ARGUMENT, "audience must be given, and none may be empty")
    if len(asked) > _MAX_AUDIENCES:
        raise Status(Code.INVALID_ARGUMENT, f"at most {_MAX_AUDIENCES} audiences")
    return asked


def _spiffe_id(text: str) -> SpiffeId:
    try:
        return SpiffeId.parse(text)
    except RingfenceError as error:
        raise Status(Code.INVALID_ARGUMENT, error.detail) from None


def _named(entries: Iterable[Entry], wanted: SpiffeId | None) -> list[Entry]:
    return [entry for entry in entries if wanted is None or entry.spiffe_id == wanted]
