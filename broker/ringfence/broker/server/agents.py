"""Agents that may connect: those that attested and were not banned, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.store import nodes
from ringfence.broker.store.engine import Store
from ringfence.broker.store.nodes import Node
from ringfence.broker.trust import Trust
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import verify_peer
from ringfence.proto.lane.peer import Peer


class Agents:
    """Who is an agent, and how many are connected."""

    def __init__(self, trust: Trust, store: Store, *, clock: Callable[[], datetime]) -> None:
        self.connected = 0
        self._trust = trust
        self._store = store
        self._clock = clock
        self._nodes: dict[str, Node] = {}

    async def load(self) -> None:
        """Read them once."""
        self._nodes = await self._store.run(nodes.every)

    def know(self, node: Node) -> None:
        """Take note of a node that the store has recorded."""
        self._nodes[node.spiffe_id] = node

    async def renewed(self, node: Node) -> None:
        """Record the newest SVID of a node."""
        await self._store.run(nodes.put, node)
        self.know(node)

    def authenticate(self, peer: Peer) -> SpiffeId:
        """The agent at the other end; raises UNAUTHENTICATED or DENIED."""
        # 1. A certificate was given and its key used: TLS has seen to that.
        if peer.certificate is None:
            raise RingfenceError(Kind.UNAUTHENTICATED, "an agent shows its SVID", hint="Attest first")
        # 2. It is an SVID of ours, now: the bundle may have changed since the handshake.
        spiffe_id = verify_peer([peer.certificate], self._trust.bundle, now=self._clock())
        # 3. It is an agent's.
        if not spiffe_id.path.startswith(AGENT_PREFIX):
            raise RingfenceError(Kind.DENIED, f"{spiffe_id} is no agent")
        # 4. We know that agent, and nobody has banned it.
        node = self._nodes.get(str(spiffe_id))
        if node is None or node.banned:
            raise RingfenceError(
                Kind.DENIED, f"{spiffe_id} is not admitted here", hint="Attest it anew with `ringfence token generate`"
            )
        return spiffe_id
