"""Claims on disk."""

from __future__ import annotations

from dataclasses import replace

from ringfence.broker.store import changes, fabric_claims
from ringfence.broker.store.changes import ChangeKind
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind
from ringfence.fabric.membership import LEASE
from tests.fabric.claims import AGENT, AT, claim, evaluation, standing

A, B, C = (AGENT.format(number) for number in (1, 2, 3))


async def test_a_claim_is_kept_as_it_was_put(store: Store) -> None:
    """Down to its addresses; put again it has the newer words; and each agent's can be read by itself."""
    rows = [replace(standing(claim(1)), server="s"), replace(standing(claim(2, "fd91::1", "fd91::2")), leaves=AT + 9)]
    assert await store.run(fabric_claims.put, rows, AT) == {}
    assert sorted(await store.run(fabric_claims.every), key=lambda one: one.claim) == rows

    renewed = replace(rows[0], claim=claim(1, "192.168.50.7"), until=AT + 2 * LEASE)
    assert await store.run(fabric_claims.put, [renewed], AT) == {}
    assert await store.run(fabric_claims.every, {A}) == [renewed]
    assert await store.run(fabric_claims.every, {C}) == []


async def test_an_address_of_another_node_or_tenant_is_not_taken(store: Store) -> None:
    """As long as its claim stands, also within one transaction; whatever else was wanted with it is stored."""
    assert await store.run(fabric_claims.put, [standing(claim(1))], AT) == {}
    stranger, tenant, free = standing(claim(2, "192.168.50.1")), standing(evaluation(1)), standing(claim(3))
    again = standing(claim(2, "192.168.50.3"))

    refused = await store.run(fabric_claims.put, [stranger, tenant, free, again], AT)

    assert [(one, error.kind) for one, error in refused.items()] == [
        (stranger, Kind.CONFLICT),
        (tenant, Kind.CONFLICT),
        (again, Kind.CONFLICT),
    ]
    assert {one.claim for one in await store.run(fabric_claims.every)} == {claim(1), claim(3)}
    assert await store.run(fabric_claims.put, [replace(stranger, until=AT + 2 * LEASE)], AT + LEASE) == {}


async def test_what_another_server_has_stored_since_is_not_removed(store: Store) -> None:
    """A node that came back elsewhere is that one's."""
    here = replace(standing(claim(1)), server="a")
    await store.run(fabric_claims.put, [here], AT)
    there = replace(here, server="b")
    await store.run(fabric_claims.put, [there], AT)

    assert await store.run(fabric_claims.remove, [here]) == []
    assert await store.run(fabric_claims.leave, "a", AT + 60) == []
    assert await store.run(fabric_claims.every) == [there]
    assert await store.run(fabric_claims.remove, [there]) == [there]
    assert await store.run(fabric_claims.every) == []


async def test_claims_of_a_node_that_is_away_have_a_time_to_go(store: Store) -> None:
    """Of one, or of all of a server; one that goes already goes when it was said first."""
    await store.run(fabric_claims.put, [replace(standing(claim(node)), server="s") for node in (1, 2, 3)], AT)

    assert await store.run(fabric_claims.leave, "s", AT + 10, [A]) == [A]
    assert await store.run(fabric_claims.leave, "s", AT + 20) == [B, C]
    assert {one.claim.agent: one.leaves for one in await store.run(fabric_claims.every)} == {
        A: AT + 10,
        B: AT + 20,
        C: AT + 20,
    }


async def test_claims_of_a_server_that_is_gone_are_nobodys(store: Store) -> None:
    """They go in time, and any server may remove them then."""
    await store.run(fabric_claims.put, [replace(standing(claim(node)), server="s") for node in (1, 2)], AT)
    await store.run(fabric_claims.leave, "s", AT + 10, [A])

    assert set(await store.run(fabric_claims.orphan, "s", AT + 20)) == {A, B}
    assert {(one.claim.agent, one.server, one.leaves) for one in await store.run(fabric_claims.every)} == {
        (A, "", AT + 10),
        (B, "", AT + 20),
    }
    assert await store.run(fabric_claims.orphan, "s", AT + 30) == []


async def test_every_agent_that_a_change_touches_is_in_the_feed(store: Store) -> None:
    """And none that it does not."""
    await store.run(fabric_claims.put, [replace(standing(claim(node)), server="s") for node in (1, 2)], AT)
    await store.run(fabric_claims.leave, "s", AT + 10, [B])
    await store.run(fabric_claims.remove, [standing(claim(2)), replace(standing(claim(1)), server="s")])

    found = await store.run(changes.since, 0)
    assert found is not None
    assert [(change.kind, change.key) for change in found] == [
        (ChangeKind.FABRIC_CLAIM, A),
        (ChangeKind.FABRIC_CLAIM, B),
        (ChangeKind.FABRIC_CLAIM, B),
        (ChangeKind.FABRIC_CLAIM, A),
    ]
