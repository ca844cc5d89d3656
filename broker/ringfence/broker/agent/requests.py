"""What callers ask for, read and held against the standard; the same for the Workload API and the Broker API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ringfence.broker.agent.entry import Entry, unique_hints
from ringfence.broker.agent.tokens import Tokens
from ringfence.broker.agent.view import View
from ringfence.broker.agent.watch import NO_IDENTITY, Watch
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto import workload
from ringfence.proto.lane import Call
from ringfence.proto.status import Code, Status

_MAX_AUDIENCES = 64


def check_header(call: Call, header: tuple[str, str]) -> None:
    """Raise INVALID_ARGUMENT unless the security *header* is there, exactly once (SPIFFE_Workload_Endpoint.md 3)."""
    name, value = header
    if call.metadata.get(name) != (value,):
        raise Status(Code.INVALID_ARGUMENT, "security header missing from request")


async def read_request(call: Call, header: tuple[str, str]) -> Any:
    """The request, once the security *header* is there."""
    check_header(call, header)
    request = await call.receive()
    if request is None:
        raise Status(Code.INVALID_ARGUMENT, "the request is missing")
    return request


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """For whom JWT-SVIDs are to be, and of which identity; None: of each that the workload has."""

    audience: tuple[str, ...]
    spiffe_id: SpiffeId | None

    @classmethod
    def read(cls, request: Any) -> TokenRequest:
        """From the wire; raises INVALID_ARGUMENT (SPIFFE_Workload_API.md sections 4.5 and 6.2.1)."""
        audience = tuple(dict.fromkeys(request.audience))
        if not audience or not all(audience):
            raise Status(Code.INVALID_ARGUMENT, "audience must be given, and none may be empty")
        if len(audience) > _MAX_AUDIENCES:
            raise Status(Code.INVALID_ARGUMENT, f"at most {_MAX_AUDIENCES} audiences")
        return cls(audience, asked_id(request))

    def of(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of *entries* that are asked for."""
        return [entry for entry in entries if self.spiffe_id in {None, entry.spiffe_id}]

    def is_met(self, view: View) -> bool:
        """Whether anything that is asked for is there to be had."""
        return bool(self.of(view.entries))


async def jwt_svids(asked: TokenRequest, watch: Watch, tokens: Tokens, ready: Callable[[View], bool]) -> Any:
    """The JWTSVIDResponse, once *ready*; raises PERMISSION_DENIED, and what the server answers."""
    view = await watch.first(ready)
    entries = unique_hints(asked.of(view.entries))
    issued = [await tokens.get(entry, asked.audience) for entry, _ in entries]
    # Entitlement may have ended while the server was asked.
    view = await watch.first(lambda view: bool(view.entries))
    if not {entry.id for entry, _ in entries} <= {entry.id for entry in view.entries}:
        raise Status(Code.PERMISSION_DENIED, NO_IDENTITY)
    answer = workload.JWTSVIDResponse()
    for (entry, hint), token in zip(entries, issued, strict=True):
        answer.svids.add(spiffe_id=str(entry.spiffe_id), svid=token, hint=hint)
    return answer


def asked_id(request: Any) -> SpiffeId | None:
    """The one identity that is asked for, None for all; raises INVALID_ARGUMENT."""
    if not request.spiffe_id:
        return None
    try:
        return SpiffeId.parse(request.spiffe_id)
    except RingfenceError as error:
        raise Status(Code.INVALID_ARGUMENT, error.detail) from None
