"""Endpoints: what connected proxies say, what is kept of those that left, and exactly what changed."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ringfence.broker.fleet.endpoints import Endpoints, rows_of
from ringfence.xds.instance import Endpoint
from ringfence.xds.locality import Locality
from tests.broker.fleet.world import NOW

KEY = "shared/registry"


def at(seconds: float) -> datetime:
    """A time after NOW."""
    return NOW + timedelta(seconds=seconds)


def test_two_proxies_of_a_workload_are_two_endpoints_in_order() -> None:
    """The same address said twice is one."""
    found = Endpoints()
    found.join("n2", KEY, {"http": ("127.0.0.1", 2)})
    found.join("n1", KEY, {"http": ("127.0.0.1", 1)})
    found.join("n3", KEY, {"http": ("127.0.0.1", 1)})

    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2))
    assert found.of(KEY, "other") == ()


def test_only_what_differs_is_touched() -> None:
    """A second stream with the same addresses changes nothing; another port, that port alone."""
    found = Endpoints()
    both = {"http": ("127.0.0.1", 1), "db": ("127.0.0.1", 2)}

    assert found.join("n1", KEY, both) == {(KEY, "http"), (KEY, "db")}
    assert found.join("n1", KEY, both) == set()
    assert found.amend("n1", KEY, {**both, "db": ("127.0.0.1", 3)}) == {(KEY, "db")}
    assert found.amend("n1", KEY, {"db": ("127.0.0.1", 3)}) == {(KEY, "http")}


def test_an_amended_proxy_is_as_connected_as_before() -> None:
    """Its two streams have to end before its grace begins."""
    found = Endpoints()
    found.join("n1", KEY, {})
    found.join("n1", KEY, {})
    found.amend("n1", KEY, {"http": ("127.0.0.1", 1)})
    found.leave("n1", NOW)
    assert found.next_lapse() is None
    found.leave("n1", NOW)

    assert found.next_lapse() == at(10)
    assert found.lapsed(at(9)) == []
    assert found.lapsed(at(10)) == ["n1"]
    assert found.forget("n1") == {(KEY, "http")}


def test_what_was_kept_is_believed_for_a_minute() -> None:
    """And replaced by what the proxy says when it is back."""
    rows = rows_of("n1", KEY, {"http": ("127.0.0.1", 1)}) + rows_of("n2", KEY, {"http": ("127.0.0.1", 2)})
    found = Endpoints()
    found.restore(rows, NOW)
    assert found.join("n1", KEY, {"http": ("127.0.0.1", 9)}) == {(KEY, "http")}

    assert found.lapsed(at(60)) == ["n2"]
    found.forget("n2")
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 9),)


def test_a_node_never_heard_of_leaves_no_trace() -> None:
    """Leaving and forgetting are harmless twice."""
    found = Endpoints()
    found.leave("n1", NOW)

    assert found.forget("n1") == set()
    assert found.next_lapse() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["http", "db"]), st.integers(1, 3)), max_size=12))
def test_changes_told_are_the_changes_made(steps: list[tuple[str, str, int]]) -> None:
    """Whoever follows what is told to have changed always has the truth."""
    found = Endpoints()
    followed: dict[tuple[str, str], tuple[Endpoint, ...]] = {}
    for node, port, number in steps:
        touched = found.forget(node) if number == 3 else found.join(node, KEY, {port: ("127.0.0.1", number)})
        followed.update((served, found.of(*served)) for served in touched)

    for port in ("http", "db"):
        assert followed.get((KEY, port), ()) == found.of(KEY, port)


def test_a_proxy_of_another_server_is_an_endpoint_until_that_server_lets_go_of_it() -> None:
    """Its time is not ours to keep."""
    found = Endpoints()
    assert found.hear("n1", KEY, {"http": ("127.0.0.1", 1)}) == {(KEY, "http")}
    assert found.hear("n1", KEY, {"http": ("127.0.0.1", 1)}) == set()
    assert (found.elsewhere(), found.next_lapse()) == ({"n1"}, None)
    assert found.lose("n1") == {(KEY, "http")}
    assert found.lose("n1") == set()
    assert found.of(KEY, "http") == ()


def test_a_proxy_that_comes_over_is_ours_and_its_endpoint_never_goes_away() -> None:
    """What the server that it left says afterwards takes nothing from it."""
    found = Endpoints()
    found.hear("n1", KEY, {"http": ("127.0.0.1", 1)})
    assert found.join("n1", KEY, {"http": ("127.0.0.1", 1)}) == set()
    assert not found.is_elsewhere("n1")
    assert found.lose("n1") == set()
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1),)


def test_a_proxy_that_goes_over_leaves_no_grace_behind() -> None:
    """Heard of elsewhere before or after its stream here ends, it stays an endpoint for as long as it is there."""
    found = Endpoints()
    for heard_first in (True, False):
        found.join("n1", KEY, {"http": ("127.0.0.1", 1)})
        if not heard_first:
            found.leave("n1", NOW)
        found.hear("n1", KEY, {"http": ("127.0.0.1", 1)})
        if heard_first:
            found.leave("n1", NOW)
        assert found.next_lapse() is None
        assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1),)
        assert found.lose("n1") == {(KEY, "http")}


def test_where_a_proxy_runs_goes_with_its_addresses() -> None:
    """Kept over a restart and heard from other servers; a proxy that has moved touches its ports."""
    http, a, b = {"http": ("127.0.0.1", 1)}, Locality("eu", "a"), Locality("eu", "b")
    found = Endpoints()
    found.restore(rows_of("n1", KEY, http, a), NOW)
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1, a),)
    assert found.join("n1", KEY, http, a) == set()
    assert found.amend("n1", KEY, http, b) == {(KEY, "http")}
    assert found.hear("n2", KEY, {"http": ("127.0.0.1", 2)}, a) == {(KEY, "http")}
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1, b), Endpoint("127.0.0.1", 2, a))


def test_of_two_that_say_one_address_the_newest_says_where_it_is() -> None:
    """Two endpoints with one address would be two hosts to Envoy."""
    found = Endpoints()
    found.join("n1", KEY, {"http": ("127.0.0.1", 1)}, Locality("eu", "a"))
    found.join("n2", KEY, {"http": ("127.0.0.1", 1)}, Locality("eu", "b"))
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1, Locality("eu", "b")),)
    found.join("n1", KEY, {"http": ("127.0.0.1", 1)}, Locality("eu", "a"))
    assert found.of(KEY, "http") == (Endpoint("127.0.0.1", 1, Locality("eu", "a")),)
