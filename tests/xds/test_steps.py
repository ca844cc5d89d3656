"""Make before break: at no moment does a client have a route to a cluster that it has not, or has no endpoints for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.xds.delta import DeltaStream
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.steps import Stepwise, first_step
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.xds.streams import DeltaClient, SotwClient, world

CLIENTS = [(SotwClient, SotwStream), (DeltaClient, DeltaStream)]
NAMES = st.sampled_from("abc")


def leading_to(target: str, *others: str, listener: str = "1") -> Snapshot:
    """A route to one cluster, and others that are there too."""
    clusters = {(CLUSTER, name): "1" for name in (target, *others)}
    return world({**clusters, (LISTENER, "in"): listener, (ROUTE, "in"): target})


def started(kind: Any, machine: Any, snapshot: Snapshot) -> Any:
    """A client that holds all of *snapshot*."""
    client = kind(Stepwise(machine()), snapshot)
    client.push(snapshot)
    if kind is DeltaClient:
        client.start()
    else:
        client.ask(CLUSTER)
        client.ask(LISTENER)
    client.drain()
    return client


def whole(client: Any) -> bool:
    """Whether the route that it holds leads to a cluster with endpoints."""
    target = client.holds.get(ROUTE, {}).get("in")
    return target is None or (target in client.holds[CLUSTER] and target in client.holds[ENDPOINT])


@pytest.mark.parametrize(("kind", "machine"), CLIENTS)
def test_a_route_follows_its_cluster_and_the_old_cluster_leaves_last(kind: Any, machine: Any) -> None:
    """Three round trips: the cluster, its endpoints, the route; what nothing leads to any more goes after that."""
    client = started(kind, machine, leading_to("a"))
    client.push(leading_to("b"))
    seen = []
    while client.inbox:
        seen.append(client.inbox[0].type_url)
        client.read_one()
        assert whole(client), seen

    assert seen.index(ENDPOINT) < seen.index(ROUTE)
    assert seen[-1] in {CLUSTER, ENDPOINT}
    assert (client.holds[ROUTE], client.holds[CLUSTER].keys()) == ({"in": "b"}, {"b"})
    assert client.stream.holds(leading_to("b"))


@pytest.mark.parametrize(("kind", "machine"), CLIENTS)
def test_it_is_not_in_step_before_the_second_step(kind: Any, machine: Any) -> None:
    """Whoever waits for a change waits for all of it."""
    client = started(kind, machine, leading_to("a"))
    new = leading_to("b")
    client.push(new)
    while client.inbox and client.inbox[0].type_url != ROUTE:
        assert not client.stream.holds(new)
        assert client.stream.waits
        client.read_one()
    client.drain()
    assert client.stream.holds(new)
    assert not client.stream.waits


@pytest.mark.parametrize(("kind", "machine"), CLIENTS)
def test_a_client_that_refuses_is_sent_all_there_is(kind: Any, machine: Any) -> None:
    """A change of a route is not kept back for a cluster that will never be accepted."""
    client = started(kind, machine, leading_to("a"))
    client.refuses = {"bad"}
    client.push(world({(CLUSTER, "a"): "1", (CLUSTER, "b"): "bad", (LISTENER, "in"): "1", (ROUTE, "in"): "changed"}))
    client.drain()
    assert client.holds[ROUTE] == {"in": "changed"}


def test_only_routes_wait_and_only_for_new_clusters() -> None:
    """A listener, which policies belong to, is in the first step already; without a new cluster there is one step."""
    first = first_step(leading_to("a"), leading_to("b", listener="2"), settled=True)
    assert first is not None
    assert first.named(LISTENER) == leading_to("b", listener="2").named(LISTENER)
    assert first.named(ROUTE) == leading_to("a").named(ROUTE)
    assert first.named(CLUSTER).keys() == first.named(ENDPOINT).keys() == {"a", "b"}
    assert first_step(leading_to("a", "b"), leading_to("b", "a"), settled=True) is None
    assert first_step(leading_to("a"), leading_to("a", "b"), settled=True) is None
    assert first_step(Snapshot({}, ""), leading_to("a"), settled=True) is None


@pytest.mark.parametrize(("kind", "machine"), CLIENTS)
@given(st.lists(st.tuples(NAMES, st.sets(NAMES), st.integers(0, 6)), min_size=1, max_size=8))
def test_whatever_comes_and_however_slowly_it_is_read(
    kind: Any, machine: Any, changes: list[tuple[str, set[str], int]]
) -> None:
    """Snapshots that overtake each other's steps: never a route too early, and the last one in the end."""
    client = started(kind, machine, leading_to("a"))
    for target, others, reads in changes:
        client.push(leading_to(target, *sorted(others)))
        for _ in range(reads):
            if client.inbox:
                client.read_one()
                assert whole(client)
    while client.inbox:
        client.read_one()
        assert whole(client)

    target, others, _ = changes[-1]
    assert client.holds[ROUTE] == {"in": target}
    assert client.holds[CLUSTER].keys() == {target, *others}
