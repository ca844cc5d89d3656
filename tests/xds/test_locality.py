"""Localities, and the order in which a caller is given the endpoints of others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.endpoints import load_assignment
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.locality import ELSEWHERE, NOWHERE, SAME_REGION, SAME_ZONE, Locality
from ringfence.xds.types import ENDPOINT
from tests.policy.intent import NOW
from tests.xds.intent import INTENT, TRAINER, model_of

A, B, FAR = Locality("eu", "a"), Locality("eu", "b"), Locality("us", "a")
WHERE = "outbound/registry.shared/http"
PREFER = """---
kind: Traffic
metadata: {name: registry, namespace: shared}
spec: {to: {workload: registry, port: http}, zones: {preferLocal: true, panicPercent: 30}}
"""
LOCALITIES = st.sampled_from([NOWHERE, A, B, FAR, Locality("eu"), Locality("", "a")])


def at(number: int, where: Locality) -> Endpoint:
    """An endpoint on that address of 10.0.0.0/24."""
    return Endpoint(f"10.0.0.{number}", 1, where)


def groups(*endpoints: Endpoint, home: Locality = NOWHERE) -> list[tuple[int, Locality, list[str]]]:
    """What Envoy is told: priority, locality, addresses."""
    return read(load_assignment("c", endpoints, home)[1].any)


def read(packed: bytes) -> list[tuple[int, Locality, list[str]]]:
    """The same, of a packed assignment."""
    kind = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    assignment: Any = codec.message(kind).FromString(codec.message("google.protobuf.Any").FromString(packed).value)
    return [
        (
            group.priority,
            Locality(group.locality.region, group.locality.zone),
            [each.endpoint.address.socket_address.address for each in group.lb_endpoints],
        )
        for group in assignment.endpoints
    ]


@pytest.mark.parametrize(
    ("home", "other", "distance"),
    [
        (A, A, SAME_ZONE),
        (A, B, SAME_REGION),
        (A, FAR, ELSEWHERE),
        (A, NOWHERE, ELSEWHERE),
        (NOWHERE, A, ELSEWHERE),
        (NOWHERE, NOWHERE, ELSEWHERE),
        (Locality("eu"), Locality("eu"), SAME_REGION),
        (Locality("", "a"), Locality("", "a"), SAME_ZONE),
        (Locality("", "a"), Locality("", "b"), ELSEWHERE),
    ],
)
def test_distance(home: Locality, other: Locality, distance: int) -> None:
    """A zone of the same name in another region is another zone, and what is not known is near to nothing."""
    assert home.distance(other) == distance


@pytest.mark.parametrize("name", ["-a", "a b", "a" * 64, "zone/1", "a\n", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """The error says which of both."""
    with pytest.raises(RingfenceError, match="zone") as caught:
        Locality.parse("eu", name)
    assert caught.value.kind is Kind.INVALID
    with pytest.raises(RingfenceError, match="region"):
        Locality.parse(name, "")


def test_without_places_nothing_is_said_of_them() -> None:
    """One group, as it was before there were any."""
    assert groups(at(2, NOWHERE), at(1, NOWHERE), home=A) == [(0, NOWHERE, ["10.0.0.1", "10.0.0.2"])]
    assert groups() == []


def test_the_callers_zone_comes_first_then_its_region_then_the_rest() -> None:
    """Endpoints whose place nobody knows are as far as another region."""
    everywhere = [at(1, FAR), at(2, NOWHERE), at(3, B), at(4, A), at(5, A)]

    assert groups(*everywhere, home=A) == [
        (0, A, ["10.0.0.4", "10.0.0.5"]),
        (1, B, ["10.0.0.3"]),
        (2, NOWHERE, ["10.0.0.2"]),
        (2, FAR, ["10.0.0.1"]),
    ]
    assert {priority for priority, *_ in groups(*everywhere)} == {0}


def test_priorities_have_no_gap() -> None:
    """Envoy refuses none, and would take an empty one for one that has failed: a zone that is gone is left out."""
    assert groups(at(1, FAR), at(2, B), home=A) == [(0, B, ["10.0.0.2"]), (1, FAR, ["10.0.0.1"])]
    assert groups(at(1, FAR), home=A) == [(0, FAR, ["10.0.0.1"])]


@given(st.lists(st.tuples(st.integers(1, 5), LOCALITIES), max_size=8, unique_by=lambda pair: pair[0]), LOCALITIES)
def test_every_endpoint_is_there_once_and_no_nearer_one_comes_later(
    placed: list[tuple[int, Locality]], home: Locality
) -> None:
    """Whatever the places: all addresses, priorities 0 to n, in the order of distance."""
    found = groups(*(at(*pair) for pair in placed), home=home)

    assert sorted(address for *_, addresses in found for address in addresses) == sorted(
        f"10.0.0.{number}" for number, _ in placed
    )
    assert [priority for priority, *_ in found] == sorted(priority for priority, *_ in found)
    assert {priority for priority, *_ in found} == set(range(len({home.distance(where) for _, where in placed})))
    assert [home.distance(where) for _, where, _ in found] == sorted(home.distance(where) for _, where, _ in found)


def compiled(text: str, home: Locality, *places: Locality) -> bytes:
    """The endpoints of the registry as the trainer's proxy at *home* gets them."""
    model = model_of(text)
    here = Instance(TRAINER.node_id, upstream=TRAINER.upstream, egress=TRAINER.egress, locality=home)
    endpoints = {("shared/registry", "http"): tuple(at(number, where) for number, where in enumerate(places, 1))}
    made = compile_snapshot(model, model.workloads["team-a/trainer"], here, endpoints, now=NOW)
    return made.named(ENDPOINT)[WHERE].any


def test_zones_are_preferred_only_where_traffic_says_so() -> None:
    """Without that all callers are sent the same bytes; with it, all callers of one zone are."""
    assert compiled(INTENT, A, A, B) == compiled(INTENT, FAR, A, B) == compiled(INTENT, NOWHERE, A, B)
    assert compiled(INTENT + PREFER.replace("true", "false"), A, A, B) == compiled(INTENT, A, A, B)
    preferred = compiled(INTENT + PREFER, A, A, B)
    assert read(preferred) == [(0, A, ["10.0.0.1"]), (1, B, ["10.0.0.2"])]
    assert preferred == compiled(INTENT + PREFER, Locality("eu", "a"), A, B) != compiled(INTENT + PREFER, B, A, B)


def test_what_no_endpoint_says_changes_no_byte() -> None:
    """A caller that knows its zone is sent what one that knows none is sent."""
    assert compiled(INTENT + PREFER, A, NOWHERE, NOWHERE) == compiled(INTENT, NOWHERE, NOWHERE, NOWHERE)
