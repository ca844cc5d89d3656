"""JWT-SVIDs: asked of the server, kept to half of their life, and used to their end when the server is away."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.cache import Clock
from ringfence.broker.agent.entry import Entry
from ringfence.broker.agent.storage import KeptToken
from ringfence.broker.status import kind_of
from ringfence.certs.errors import Kind, RingfenceError

_KEPT = 4096
_PATIENCE = 5.0  # seconds for the server's answer, before a token that is still valid serves
_SPARE = timedelta(seconds=5)  # a token that ends sooner is of no use to anyone

_Key = tuple[str, tuple[str, ...]]


class Issuer(Protocol):
    """Who issues tokens: the link to the server."""

    async def request_jwt(self, entry_id: str, audience: tuple[str, ...]) -> agent_pb2.JwtResponse:
        """One JWT-SVID; raises UNAVAILABLE when the server can't be asked."""
        ...


class Tokens:
    """A bounded store by entry and audience. Callers that want the same token share one question."""

    def __init__(self, issuer: Issuer, clock: Clock, *, patience: float = _PATIENCE) -> None:
        self._issuer = issuer
        self._clock = clock
        self._patience = patience
        self._kept: OrderedDict[_Key, KeptToken] = OrderedDict()
        self._asked: dict[_Key, asyncio.Task[KeptToken]] = {}

    async def get(self, entry: Entry, audience: tuple[str, ...]) -> str:
        """A token of *entry* for *audience*; raises what the server answers, or UNAVAILABLE."""
        key = (entry.id, audience)
        kept = self._kept.get(key)
        now = self._clock().timestamp()
        if kept is not None and now < (kept.issued_at + kept.expires_at) / 2:
            self._kept.move_to_end(key)
            return kept.token
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(entry, audience))
            task.add_done_callback(lambda done: self._answered(key, done))
        try:
            return (await asyncio.shield(task)).token
        except RingfenceError as error:
            if error.kind is Kind.UNAVAILABLE and kept is not None and now < kept.expires_at - _SPARE.total_seconds():
                return kept.token
            raise

    async def _ask(self, entry: Entry, audience: tuple[str, ...]) -> KeptToken:
        asked_at = self._clock().timestamp()
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._issuer.request_jwt(entry.id, audience)
        except TimeoutError:
            raise RingfenceError(Kind.UNAVAILABLE, "the server did not answer in time") from None
        if answer.code:
            raise RingfenceError(kind_of(answer.code), answer.detail)
        kept = KeptToken(entry.id, audience, answer.token, asked_at, float(answer.expires_at))
        self._kept[(entry.id, audience)] = kept
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept

    def _answered(self, key: _Key, task: asyncio.Task[KeptToken]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also when every caller has left

    def forget(self, entry_ids: Iterable[str]) -> None:
        """Drop the tokens of entries that are gone or changed, and of the instances of such rules."""
        gone = frozenset(entry_ids)
        for key in [key for key in self._kept if key[0] in gone or key[0].partition("#")[0] in gone]:
            del self._kept[key]

    def forget_all(self) -> None:
        """Drop every token: the authority has changed."""
        self._kept.clear()

    def restore(self, kept: Iterable[KeptToken]) -> None:
        """Take up what an earlier run kept."""
        now = self._clock().timestamp()
        self._kept.update({(token.entry_id, token.audience): token for token in kept if token.expires_at > now})

    def dump(self) -> tuple[KeptToken, ...]:
        """What to keep on disk: those that are still good."""
        now = self._clock().timestamp()
        return tuple(token for token in self._kept.values() if token.expires_at > now)
