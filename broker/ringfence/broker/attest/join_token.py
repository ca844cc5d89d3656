"""Node attestation by join token: a secret that an operator carries to a node once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from ringfence.broker.attest.node_port import Evidence, Proven
from ringfence.broker.audit.journal import AuditLog
from ringfence.broker.audit.record import Event
from ringfence.broker.audit.transaction import recorded
from ringfence.broker.store import tokens
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError

ATTESTOR = "join_token"
DEFAULT_TTL = 600  # seconds, as SPIRE's
MAX_TTL = 24 * 3600


class JoinTokens:
    """Makes tokens, and takes each at most once (a NodeAttestor)."""

    name = ATTESTOR
    can_reattest = False

    def __init__(self, store: Store, *, clock: Callable[[], datetime], audit: AuditLog | None = None) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit

    async def generate(self, ttl: int) -> tuple[str, int]:
        """A new token and its end in Unix seconds; *ttl* is seconds, 0 for ten minutes. Raises INVALID."""
        if not 0 <= ttl <= MAX_TTL:
            raise RingfenceError(Kind.INVALID, f"a token cannot live for {ttl} s", hint="From 1 s to 24 h")
        token = secrets.token_urlsafe(32)
        now = int(self._clock().timestamp())
        expires_at = now + (ttl or DEFAULT_TTL)
        await self._store.run(tokens.add, token, expires_at=expires_at, now=now)
        return token, expires_at

    async def prove(self, evidence: Evidence) -> Proven:
        """The node is named after the token's hash; raises UNAUTHENTICATED.

        The token is spent by this very statement. A crash after it costs the operator a token, never an identity that
        is given out twice.
        """
        token: str = evidence.given
        if not token:
            raise RingfenceError(Kind.UNAUTHENTICATED, "the join token is empty", hint="Pass --join-token")
        now = int(self._clock().timestamp())
        digest = await recorded(
            self._store,
            self._audit,
            lambda connection: tokens.use(connection, token, now),
            lambda spent: [Event("token.use", spent)],
        )
        return Proven(digest)
