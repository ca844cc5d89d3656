"""The nodes in the store: attested, renewed, evicted, banned."""

from __future__ import annotations

from dataclasses import replace

from ringfence.broker.store import nodes
from ringfence.broker.store.engine import Store
from ringfence.broker.store.nodes import Node

NODE = Node("spiffe://example.org/a", "join_token", 1, "aa", 100)
OTHER = replace(NODE, spiffe_id="spiffe://example.org/b", serial="bb")


async def test_a_renewal_keeps_the_moment_of_attestation(store: Store) -> None:
    """Else every SVID since the first renewal but the newest would be refused."""
    await store.run(nodes.attested, NODE)
    assert await store.run(nodes.renewed, NODE.spiffe_id, "bb", 200)
    assert await store.run(nodes.every) == {NODE.spiffe_id: replace(NODE, serial="bb", not_after=200)}


async def test_attesting_again_begins_anew(store: Store) -> None:
    """The moment of the last attestation counts: SVIDs from before it are out."""
    await store.run(nodes.attested, NODE)
    again = replace(NODE, attested_at=50, serial="cc", not_after=300)
    assert await store.run(nodes.attested, again)
    assert await store.run(nodes.every) == {NODE.spiffe_id: again}


async def test_a_banned_node_neither_attests_nor_renews_nor_is_evicted(store: Store) -> None:
    """A ban ends in one way only."""
    await store.run(nodes.attested, NODE)
    assert await store.run(nodes.ban, NODE)
    assert not await store.run(nodes.ban, NODE)
    assert not await store.run(nodes.attested, replace(NODE, attested_at=50))
    assert not await store.run(nodes.renewed, NODE.spiffe_id, "bb", 200)
    assert not await store.run(nodes.evict, NODE.spiffe_id)
    assert await store.run(nodes.every) == {NODE.spiffe_id: replace(NODE, banned=True)}
    assert await store.run(nodes.lift, NODE.spiffe_id)
    assert not await store.run(nodes.lift, NODE.spiffe_id)
    assert await store.run(nodes.every) == {NODE.spiffe_id: NODE}


async def test_a_ban_has_the_reason_that_was_given_last(store: Store) -> None:
    """Another reason changes it, none leaves it, and it goes with the ban."""
    await store.run(nodes.attested, NODE)
    lost, found = replace(NODE, reason="laptop lost"), replace(NODE, reason="found, and sold")
    assert await store.run(nodes.ban, NODE)
    assert await store.run(nodes.ban, lost)
    assert not await store.run(nodes.ban, lost)
    assert await store.run(nodes.ban, found)
    assert not await store.run(nodes.ban, NODE)
    assert await store.run(nodes.every) == {NODE.spiffe_id: replace(found, banned=True)}
    assert await store.run(nodes.lift, NODE.spiffe_id)
    assert await store.run(nodes.every) == {NODE.spiffe_id: NODE}


async def test_an_evicted_node_cannot_renew_itself_back_in(store: Store) -> None:
    """A renewal that was under way when it was evicted changes nothing."""
    await store.run(nodes.attested, NODE)
    assert await store.run(nodes.evict, NODE.spiffe_id)
    assert not await store.run(nodes.evict, NODE.spiffe_id)
    assert not await store.run(nodes.renewed, NODE.spiffe_id, "bb", 200)
    assert await store.run(nodes.every) == {}


async def test_a_stranger_is_banned_too_and_forgotten_with_its_ban(store: Store) -> None:
    """A ban may come after an eviction, and lifting it admits nobody who did not attest since."""
    stranger = Node("spiffe://example.org/c", "x509pop", 0, "", 0)
    assert await store.run(nodes.ban, stranger)
    assert not await store.run(nodes.attested, replace(stranger, serial="dd"))
    assert await store.run(nodes.lift, stranger.spiffe_id)
    assert await store.run(nodes.every) == {}


async def test_forgetting_spares_the_banned(store: Store) -> None:
    """Else a ban would end by itself."""
    await store.run(nodes.attested, NODE)
    await store.run(nodes.attested, OTHER)
    await store.run(nodes.ban, NODE)
    assert await store.run(nodes.forget, 101) == 1
    assert list(await store.run(nodes.every)) == [NODE.spiffe_id]
