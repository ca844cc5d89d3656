"""Agents on disk."""

from __future__ import annotations

from ringfence.broker.store import nodes
from ringfence.broker.store.engine import Store
from ringfence.broker.store.nodes import Node

NODE = Node("spiffe://example.org/ringfence/agent/join_token/x", "join_token", 1, "aa", 100)


async def test_a_renewal_keeps_the_ban_and_the_first_attestation(store: Store) -> None:
    """A banned agent cannot renew itself back in."""
    await store.run(nodes.put, NODE)
    assert await store.run(nodes.ban, NODE.spiffe_id)
    await store.run(nodes.put, Node(NODE.spiffe_id, "join_token", 50, "bb", 200))
    assert await store.run(nodes.every) == {
        NODE.spiffe_id: Node(NODE.spiffe_id, "join_token", 1, "bb", 200, banned=True)
    }


async def test_forgetting_spares_the_banned(store: Store) -> None:
    """Else a ban would end by itself."""
    await store.run(nodes.put, NODE)
    await store.run(nodes.put, Node("spiffe://example.org/b", "join_token", 1, "bb", 100))
    await store.run(nodes.ban, NODE.spiffe_id)
    assert await store.run(nodes.forget, 101) == 1
    assert list(await store.run(nodes.every)) == [NODE.spiffe_id]
