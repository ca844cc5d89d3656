"""What the server pushes is what streams are shown from then on, and what time ends they are not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.broker.agent.workload_api import is_entitled
from ringfence.proto.status import Code
from tests.broker.agent.watched import NOW, UID, World, end_of, ids_of, pushed, views_of


@pytest.fixture
def world() -> World:
    """A fresh one."""
    return World()


async def test_a_revoked_identity_is_served_no_longer(world: World) -> None:
    """A revocation ends the stream at once; the identity comes back only with its entry made anew."""
    world.update(pushed("a"))
    with world.watches.open(world.caller) as watch:
        views = views_of(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        await anext(views)
        world.cache.on_revocations(agent_pb2.Revocations(spiffe_ids=["spiffe://example.org/a"]))
        assert await end_of(views) is Code.PERMISSION_DENIED
    assert world.cache.matching(frozenset({UID})) == ()
    world.update(pushed("a"))
    assert [entry.id for entry in world.cache.matching(frozenset({UID}))] == ["a"]


async def test_a_revocation_reaches_who_still_waits(world: World) -> None:
    """A caller whose SVID is still to come is told as well: it has nothing to wait for."""
    world.update(pushed("a"))
    with world.watches.open(world.caller) as watch:
        views = watch.views(is_entitled, lambda view: view.entitled)
        await anext(views)
        world.cache.on_revocations(agent_pb2.Revocations(spiffe_ids=["spiffe://example.org/a"]))
        assert await end_of(views) is Code.PERMISSION_DENIED


async def test_a_revoked_serial_is_issued_again(world: World) -> None:
    """A revoked serial is replaced, under the same identity."""
    world.update(pushed("a"))
    with world.watches.open(world.caller) as watch:
        views = views_of(watch)
        world.cache.needs.add(world.cache.matching(frozenset({UID}))[0])
        world.issue()
        first = (await anext(views)).held[0][1]
        serial = first.serial.to_bytes(16, "big")
        world.cache.on_revocations(agent_pb2.Revocations(serials=[serial]))
        world.cache.view(watch.entries)
        assert world.issue() == ["a"]
        assert (await anext(views)).held[0][1].serial != first.serial


async def test_an_svid_of_an_entry_that_changed_meanwhile_is_left_out(world: World) -> None:
    """An answer that comes after the entry got another DNS name is not served: it is asked for again."""
    world.update(pushed("a"))
    entry = world.cache.matching(frozenset({UID}))[0]
    key = new_key()
    chain = world.authority.issue_x509(entry.spiffe_id, key.public_key(), now=NOW, ttl=timedelta(hours=1))
    world.update(pushed("a", dns_names=["x.example"]))
    world.cache.put(entry, HeldSvid.of(chain, key, entry.spiffe_id, 0.0))
    assert world.cache.svids.get("a", NOW) is None
    assert [need.dns_names for need in world.cache.take_needs()] == [("x.example",)]


def _rule(**fields: Any) -> agent_pb2.Entry:
    return agent_pb2.Entry(id="r", spiffe_id="spiffe://example.org", template="/u/{unix.uid}", **fields)


async def test_an_instance_of_a_rule_is_served_and_ends_with_the_rule(world: World) -> None:
    """Issued under its own id; when the rule goes, so do its SVID and the stream."""
    world.update(_rule())
    with world.watches.open(world.caller) as watch:
        views = views_of(watch)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(views)
        assert world.issue() == ["r#/u/1"]
        views = views_of(watch)
        assert ids_of(await anext(views)) == ["r#/u/1"]
        world.update(removed=["r"])
        assert len(world.cache.svids) == 0
        assert await end_of(views) is Code.PERMISSION_DENIED


async def test_a_rule_that_changes_makes_its_instances_anew(world: World) -> None:
    """Another template, other DNS names: the SVIDs in use are of the past."""
    world.update(_rule())
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["r#/u/1"]
        world.update(_rule(dns_names=["a.example"]))
        assert len(world.cache.svids) == 0
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        assert world.issue() == ["r#/u/1"]


async def test_an_entry_ends_on_time_without_the_server(world: World) -> None:
    """The agent's own clock ends it: no match, no SVID, and the streams learn it."""
    now = NOW
    world.cache.clock = lambda: now
    world.update(pushed("a", expires_at=int(NOW.timestamp()) + 60))
    with world.watches.open(world.caller) as watch:
        world.watches.rematch(watch)
        world.cache.view(watch.entries)
        world.issue()
        views = views_of(watch)
        assert ids_of(await anext(views)) == ["a"]
        world.cache.end_entries()
        assert len(world.cache.book) == 1
        now += timedelta(seconds=60)
        assert world.cache.matching(frozenset({UID})) == ()
        world.cache.end_entries()
        assert (len(world.cache.book), len(world.cache.svids)) == (0, 0)
        assert await end_of(views) is Code.PERMISSION_DENIED


async def test_what_is_for_a_store_is_not_served_to_workloads(world: World) -> None:
    """store_svid keeps an entry off the Workload API."""
    world.update(pushed("a", store_svid=True))
    assert world.cache.matching(frozenset({UID})) == ()
