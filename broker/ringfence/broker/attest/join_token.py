"""Node attestation by join token: a secret that an operator carries to a node once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.issue import Issuer
from ringfence.broker.store import nodes, tokens
from ringfence.broker.store.engine import Store
from ringfence.broker.store.nodes import Node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft, csr_public_key
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

ATTESTOR = "join_token"
DEFAULT_TTL = 600  # seconds, as SPIRE's
MAX_TTL = 24 * 3600


class JoinTokens:
    """Makes tokens, and turns each into one agent's identity at most once."""

    def __init__(
        self, trust_domain: TrustDomain, store: Store, issuer: Issuer, *, clock: Callable[[], datetime]
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def generate(self, ttl: int) -> tuple[str, int]:
        """A new token and its end in Unix seconds; *ttl* is seconds, 0 for ten minutes. Raises INVALID."""
        if not 0 <= ttl <= MAX_TTL:
            raise RingfenceError(Kind.INVALID, f"a token cannot live for {ttl} s", hint="From 1 s to 24 h")
        token = secrets.token_urlsafe(32)
        now = int(self._clock().timestamp())
        expires_at = now + (ttl or DEFAULT_TTL)
        await self._store.run(tokens.add, token, expires_at=expires_at, now=now)
        return token, expires_at

    async def attest(self, token: str, csr: bytes) -> tuple[Node, tuple[bytes, ...]]:
        """The node that *token* proves and its chain; raises UNAUTHENTICATED or INVALID.

        A crash after step 2 costs the operator a token, never an identity given out twice.
        """
        # 1. The request is sound, or the token is not touched.
        key = csr_public_key(csr)
        # 2. The token is good and is spent by this very statement.
        now = int(self._clock().timestamp())
        spent = await self._store.run(tokens.use, token, now)
        # 3. Draft, check, record the intent, sign, check, record (issue).
        spiffe_id = SpiffeId(self._trust_domain, f"{AGENT_PREFIX}{ATTESTOR}/{spent}")
        drafts: list[LeafDraft] = []
        chain = await self._issuer.own_svid(spiffe_id, key, on_draft=drafts.append)
        # 4. Remember the node, then deliver.
        node = node_of(drafts[0], ATTESTOR, now)
        if not await self._store.run(nodes.attested, node):
            raise RingfenceError(Kind.DENIED, f"{spiffe_id} is banned")
        return node, chain


def node_of(draft: LeafDraft, attestor: str, now: int) -> Node:
    """The node that holds the SVID of *draft*; *now* in Unix seconds."""
    return Node(str(draft.spiffe_id), attestor, now, f"{draft.serial:032x}", int(draft.not_after.timestamp()))
