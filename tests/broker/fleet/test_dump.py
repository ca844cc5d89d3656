"""What an operator is shown of what a proxy was sent."""

from __future__ import annotations

import pytest

from ringfence.broker.fleet.dump import dumped
from ringfence.xds.discovery import DeltaRequest
from ringfence.xds.types import CLUSTER
from tests.broker.fleet.world import FakeProxy, fleet_of


@pytest.mark.parametrize("name", ["n1", "team-a/trainer", "team-a", "spiffe://example.test/ns/team-a/sa/trainer"])
async def test_a_proxy_is_found_by_each_of_its_names(name: str) -> None:
    """And nobody by the name of another."""
    fleet = await fleet_of()
    await FakeProxy(fleet, "team-a/trainer").start()
    (found,) = dumped(fleet.connected, name)
    assert (found.node, found.state, found.revision) == ("n1", "SYNCED", fleet.revision)
    assert dumped(fleet.connected, f"{name}-2") == []


async def test_each_resource_says_what_became_of_it() -> None:
    """Sent until it is answered, then accepted; its bytes are those that were sent."""
    fleet = await fleet_of()
    proxy = FakeProxy(fleet, "team-a/trainer")
    await proxy.ask(DeltaRequest(CLUSTER))
    (found,) = dumped(fleet.connected, "n1")
    (cluster,) = found.resources
    assert (cluster.type_url, cluster.state) == (CLUSTER, "sent")
    assert cluster.any == proxy.proxy.stream.snapshot.named(CLUSTER)["shared/registry/http"].any
    await proxy.settle()
    (found,) = dumped(fleet.connected, "n1")
    assert {one.state for one in found.resources if one.type_url == CLUSTER} == {"accepted"}


async def test_what_a_proxy_brought_along_is_shown_as_if_it_had_been_sent() -> None:
    """A stream that was opened anew sends nothing that is held, and the bytes are known by their hash."""
    fleet = await fleet_of()
    proxy = FakeProxy(fleet, "team-a/trainer")
    known = proxy.proxy.stream.snapshot.named(CLUSTER)["shared/registry/http"]
    await proxy.ask(DeltaRequest(CLUSTER, initial={known.name: known.version}))
    (found,) = dumped(fleet.connected, "n1")
    (cluster,) = found.resources
    assert (cluster.state, cluster.any) == ("accepted", known.any)
