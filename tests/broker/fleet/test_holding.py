"""Waiting until proxies hold a revision: by push, with the end told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.holding import Holding, Outcome, Standing
from ringfence.broker.fleet.proxy import Proxy
from tests.broker.fleet.world import MESH, PULL, FakeProxy, fleet_of, model

SERVES = {"inbound": {"http": "127.0.0.1:4001"}}
HELD, WAITING = Outcome.HELD, Outcome.WAITING


def watched(
    fleet: Fleet, *names: str, revision: str = "", may_see: Callable[[Proxy], bool] = lambda _: True
) -> AsyncIterator[Standing]:
    """How it stands with the revision in force, or another."""
    return Holding(fleet, revision or fleet.revision, names, may_see).watch()


async def ended(standings: AsyncIterator[Standing]) -> Standing:
    """The last word."""
    async with asyncio.timeout(30):
        return [standing async for standing in standings][-1]


async def test_it_is_held_at_once_when_everybody_is_in_step() -> None:
    """The first digits of a revision are enough, and where nobody is connected nobody lags behind."""
    fleet = await fleet_of()
    assert (await ended(watched(fleet))).outcome is HELD
    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    standings = [s async for s in watched(fleet, revision=fleet.revision[:8])]
    assert [(s.outcome, s.meant) for s in standings] == [(HELD, 1)]


async def test_it_is_held_when_the_last_one_has_answered() -> None:
    """The first word is how it stands; nothing is said in between that is no news."""
    fleet = await fleet_of(MESH)
    proxies = [await FakeProxy(fleet, key).start() for key in ("shared/registry", "team-a/trainer")]
    fleet.apply(model())
    standings = watched(fleet)
    first = await anext(standings)
    assert (first.outcome, first.meant, len(first.late)) == (WAITING, 2, 2)
    end = asyncio.ensure_future(ended(standings))
    await proxies[0].settle()
    assert not end.done()
    await proxies[1].settle()
    assert (await end).outcome is HELD


async def test_a_refusal_ends_it_whoever_else_is_late() -> None:
    """Only another change of intent can help, and that will be another revision."""
    fleet = await fleet_of(MESH)
    bad = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await FakeProxy(fleet, "team-a/trainer").start()
    bad.refuses = "shared/registry"
    fleet.apply(model())
    end = asyncio.ensure_future(ended(watched(fleet)))
    await bad.settle()
    standing = await end
    assert standing.outcome is Outcome.REFUSED
    assert {proxy.has_refused for proxy in standing.late} == {True, False}


async def test_a_refusal_of_before_is_none_of_what_is_on_its_way() -> None:
    """The mended document gets its chance."""
    fleet = await fleet_of(MESH)
    proxy = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    proxy.refuses = "shared/registry"
    fleet.apply(model())
    await proxy.settle()
    proxy.refuses = ""
    fleet.apply(model(MESH + PULL.replace("team-a}", "team-b}").replace("trainer", "notebook")))
    end = asyncio.ensure_future(ended(watched(fleet)))
    await proxy.settle()
    assert (await end).outcome is HELD


async def test_another_revision_ends_it() -> None:
    """What was overtaken will never be held."""
    fleet = await fleet_of(MESH)
    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    fleet.apply(model())
    end = asyncio.ensure_future(ended(watched(fleet)))
    await asyncio.sleep(0)
    fleet.apply(model(MESH))
    standing = await end
    assert (standing.outcome, standing.revision) == (Outcome.SUPERSEDED, fleet.revision)


async def test_a_revision_that_is_not_in_force_yet_is_waited_for() -> None:
    """As one that was applied at another server is, until the news of it is here."""
    fleet = await fleet_of(MESH)
    end = asyncio.ensure_future(ended(watched(fleet, revision=model().revision)))
    await asyncio.sleep(0)
    assert not end.done()
    fleet.apply(model())
    assert (await end).outcome is HELD


async def test_only_those_count_that_are_named_and_each_name_must_mean_one() -> None:
    """By workload, namespace, identity or node; a workload that is not there yet is waited for."""
    fleet = await fleet_of(MESH)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await FakeProxy(fleet, "team-a/trainer").start()
    fleet.apply(model())
    await registry.settle()
    assert (await ended(watched(fleet, "shared/registry"))).meant == 1
    assert (await anext(watched(fleet, "team-a"))).outcome is WAITING

    standings = watched(fleet, "shared", "team-b/notebook")
    assert (await anext(standings)).missing == ("team-b/notebook",)
    end = asyncio.ensure_future(ended(standings))
    await FakeProxy(fleet, "team-b/notebook").start()
    assert (await end).outcome is HELD


async def test_who_may_not_be_seen_does_not_count() -> None:
    """Neither held up by, nor told of, proxies of other namespaces."""
    fleet = await fleet_of(MESH)
    await FakeProxy(fleet, "shared/registry", **SERVES).start()
    fleet.apply(model())
    standing = await ended(watched(fleet, may_see=lambda proxy: proxy.caller.workload.namespace == "team-a"))
    assert (standing.outcome, standing.meant, standing.late) == (HELD, 0, ())


async def test_a_proxy_that_leaves_is_not_waited_for() -> None:
    """What is not connected holds nothing that could be late."""
    fleet = await fleet_of(MESH)
    proxy = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    fleet.apply(model())
    end = asyncio.ensure_future(ended(watched(fleet)))
    await asyncio.sleep(0)
    proxy.leave()
    assert (await end).outcome is HELD
