"""An Envoy's config dump beside what it was sent; with a real one in tests/e2e/test_mesh_config_dump.py."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.xds.config_dump import Sent, compared
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER

CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ADMIN = "type.googleapis.com/envoy.admin.v3."


def dump(**parts: dict[str, Any]) -> dict[str, Any]:
    """A dump with these parts."""
    return {"configs": [{"@type": f"{ADMIN}{name}ConfigDump", **part} for name, part in parts.items()]}


def active(*clusters: dict[str, Any]) -> dict[str, Any]:
    """A dump of an Envoy that holds *clusters*."""
    return dump(Clusters={"dynamic_active_clusters": [{"cluster": {"@type": CLUSTER_TYPE, **c}} for c in clusters]})


def texts(sent: Sent, found: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and differences."""
    return [(one.name, one.text) for one in compared([sent], found)]


C = Sent(CLUSTER, "c", "accepted", {"name": "c", "connect_timeout": "5s"})


def test_what_is_equal_differs_in_nothing() -> None:
    """Envoy writes its type beside it."""
    assert texts(C, active({"name": "c", "connect_timeout": "5s"})) == []


def test_what_differs_is_told_by_path_with_how_much_more_there_is() -> None:
    """The first place stands for all."""
    (found,) = texts(C, active({"name": "c", "connect_timeout": "6s", "type": "EDS"}))
    assert found == ("c", "connect_timeout: 5s -> 6s and 1 more")


def test_what_one_side_alone_has_is_told() -> None:
    """In both directions."""
    assert texts(C, active({"name": "d"})) == [
        ("c", "the proxy does not hold it"),
        ("d", "the proxy holds it, and was not sent it"),
    ]


def test_what_warms_is_not_held_yet() -> None:
    """A cluster without endpoints, a listener without its routes."""
    warming = dump(
        Clusters={"dynamic_warming_clusters": [{"cluster": {"name": "c"}}]},
        Listeners={"dynamic_listeners": [{"name": "l", "warming_state": {}}]},
    )
    found = compared([C, Sent(LISTENER, "l", "sent", {"name": "l"})], warming)
    assert all(one.text.startswith("still warming") for one in found)
    assert len(found) == 2


def test_what_was_refused_says_so_before_how_it_differs() -> None:
    """Or one would look for the fault in the transport."""
    assert texts(Sent(CLUSTER, "c", "refused", {"name": "c"}), active()) == [
        ("c", "refused; the proxy does not hold it")
    ]


def test_what_is_kept_in_place_of_what_was_refused_is_compared_itself() -> None:
    """Two differences in one: what the intent means is not there, and what should be instead is not that."""
    refused = Sent(CLUSTER, "c", "refused", {"name": "c", "connect_timeout": "9s"})
    text = "refused; the proxy keeps what it accepted before"
    (found,) = compared([refused, C], active({"name": "c", "connect_timeout": "5s"}))
    assert found.text == text
    both = compared([refused, C], active({"name": "c", "connect_timeout": "6s"}))
    assert [one.text for one in both] == ["connect_timeout: 5s -> 6s", text]


def test_endpoints_are_compared_by_address_and_place_alone() -> None:
    """Health and weights are the proxy's own; static clusters are listed with them and were never sent."""

    def group(port: int, **more: Any) -> dict[str, Any]:
        address = {"socket_address": {"address": "10.0.0.1", "port_value": port}}
        return {"lb_endpoints": [{"endpoint": {"address": address}, **more}]}

    sent = Sent(ENDPOINT, "c", "accepted", {"cluster_name": "c", "endpoints": [group(1)]})
    live = {"cluster_name": "c", "endpoints": [group(1, health_status="HEALTHY", load_balancing_weight=1)]}
    other = {"endpoint_config": {"cluster_name": "app/http"}}
    listed = [{"endpoint_config": live}, other]
    assert compared([sent], dump(Endpoints={"dynamic_endpoint_configs": listed})) == []
    moved = {"cluster_name": "c", "endpoints": [group(2)]}
    (found,) = compared([sent], dump(Endpoints={"dynamic_endpoint_configs": [{"endpoint_config": moved}]}))
    assert found.text.startswith("10.0.0.1:1: ")


def test_what_the_server_never_had_the_bytes_of_is_there_or_not() -> None:
    """A proxy that came back brought it along by its version."""
    assert texts(Sent(CLUSTER, "c", "accepted", {}), active({"name": "c", "type": "EDS"})) == []
    assert texts(Sent(CLUSTER, "c", "accepted", {}), active()) == [("c", "the proxy does not hold it")]


def test_what_is_no_dump_is_refused() -> None:
    """Another page of another program."""
    with pytest.raises(ValueError, match="no configs"):
        compared([], {})
