"""The status of proxies, written back on the documents that they were compiled from."""

from __future__ import annotations

from ringfence.broker.fleet.conditions import Condition, State, conditions
from ringfence.broker.fleet.fleet import Fleet
from ringfence.policy.load import load_documents
from tests.broker.fleet.world import MESH, PULL, FakeProxy, fleet_of, model
from tests.policy.intent import NOW

DOCUMENTS = load_documents([("intent.yaml", MESH + PULL)], now=NOW).documents
SERVES = {"inbound": {"http": "127.0.0.1:4001"}}


def standing(fleet: Fleet) -> dict[str, Condition]:
    """By the name of the document."""
    return {str(one.document): one for one in conditions(DOCUMENTS, fleet.connected)}


def counted(condition: Condition) -> tuple[State, int, int]:
    """State, applied, proxies."""
    return condition.state, condition.applied, condition.proxies


async def test_a_document_counts_the_proxies_that_depend_on_it() -> None:
    """A rule concerns both its ends, a workload itself and whoever may call it, the mesh everybody."""
    fleet = await fleet_of()
    assert {one.state for one in standing(fleet).values()} == {State.UNUSED}
    for key in ("shared/registry", "team-a/trainer", "team-b/notebook"):
        await FakeProxy(fleet, key).start()
    found = standing(fleet)
    assert counted(found["Allow team-a/pull"]) == (State.APPLIED, 2, 2)
    assert counted(found["Workload shared/registry"]) == (State.APPLIED, 2, 2)
    assert counted(found["Workload team-b/notebook"]) == (State.APPLIED, 1, 1)
    assert counted(found["Mesh mesh"]) == (State.APPLIED, 3, 3)


async def test_what_is_on_its_way_is_not_applied_yet() -> None:
    """Until the proxy says so; one that is not touched goes on having it."""
    fleet = await fleet_of(MESH)
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await FakeProxy(fleet, "team-b/notebook").start()
    fleet.apply(model())
    found = standing(fleet)
    assert counted(found["Allow team-a/pull"]) == (State.PENDING, 0, 1)
    assert counted(found["Workload team-b/notebook"]) == (State.APPLIED, 1, 1)
    await registry.settle()
    assert counted(standing(fleet)["Allow team-a/pull"]) == (State.APPLIED, 1, 1)


async def test_a_refusal_is_on_the_document_that_it_names_and_on_no_other() -> None:
    """By whom, and in the words of the document; the rest of what that proxy has stays applied."""
    fleet = await fleet_of()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    (rule,) = model().rules
    await registry.ask_with_error(f"cannot do {rule.policy_id}")
    found = standing(fleet)
    refused = found["Allow team-a/pull"]
    assert counted(refused) == (State.REFUSED, 0, 1)
    assert refused.refused["n1"].startswith(f"intent.yaml:{rule.origin.line}: the proxy refuses Listener")
    assert counted(found["Workload shared/registry"]) == (State.APPLIED, 1, 1)


async def test_a_refusal_that_names_nothing_is_on_no_document_and_none_counts_as_applied() -> None:
    """Nobody knows what of it is in force."""
    fleet = await fleet_of()
    registry = await FakeProxy(fleet, "shared/registry", **SERVES).start()
    await registry.ask_with_error("no memory")
    assert counted(standing(fleet)["Workload shared/registry"]) == (State.PENDING, 0, 1)
