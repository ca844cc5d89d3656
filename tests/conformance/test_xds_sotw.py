"""Section 3.1 of the lines that are of the state-of-the-world variant (xds_protocol.rst and discovery.proto)."""

from __future__ import annotations

from ringfence.xds.discovery import SotwRequest
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.conformance.xds_first import FIRST, ack, changed, running
from tests.xds.streams import named, snapshot


def test_3_1_17_a_new_list_of_names_supersedes_the_old() -> None:
    """What is no longer named is no longer pushed."""
    stream = running()
    (out,) = stream.receive(SotwRequest(ENDPOINT, ("d",), stream._types[ENDPOINT].nonce, "v"), FIRST)
    stream.receive(ack(out, "d"), FIRST)

    assert named(out) == {"d": "1"}
    assert stream.update(changed((ENDPOINT, "c"))) == []


def test_3_1_18_cluster_and_listener_responses_are_complete() -> None:
    """One change sends all; the last one gone sends an empty response, which deletes all."""
    two = changed((CLUSTER, "new"))

    (out, *_) = running().update(two)
    assert named(out) == {"c": "1", "new": "2"}
    (out,) = running().update(changed(without=((CLUSTER, "c"),)))
    assert named(out) == {}


def test_3_1_18_a_first_request_is_answered_even_by_nothing() -> None:
    """A restarted server says that nothing is left, and a proxy need not wait for its timeout."""
    (out,) = SotwStream().receive(SotwRequest(LISTENER), snapshot())

    assert named(out) == {}


def test_3_1_19_other_responses_hold_only_what_changed_and_never_nothing() -> None:
    """An empty EDS, RDS or ECDS response would mean nothing."""
    stream = SotwStream()
    stream.receive(SotwRequest(ENDPOINT, ("c", "d")), FIRST)

    (out,) = stream.update(changed((ENDPOINT, "d")))

    assert named(out) == {"d": "2"}
    assert running().update(changed(without=((ENDPOINT, "d"),))) == []
    assert running().update(changed(without=((ENDPOINT, "c"), (CLUSTER, "c")))).pop().type_url == CLUSTER


def test_3_1_20_naming_nothing_means_all_only_until_something_was_named() -> None:
    """`*` and a name are both; the name alone is only that; an empty list then is nothing, not all."""
    stream, now = SotwStream(), changed((CLUSTER, "A"))

    def ask(*names: str) -> dict[str, str]:
        outs = stream.receive(SotwRequest(CLUSTER, names, stream._types[CLUSTER].nonce, "v"), now)
        return named(outs[0]) if outs else {}

    assert set(ask("*", "A")) == {"A", "c"}
    assert ask("A") == {}
    assert [set(named(o)) for o in stream.update(changed((CLUSTER, "A"), (CLUSTER, "c")))] == []
    assert ask() == {}
    assert stream.update(FIRST) == []


def test_3_1_20_the_legacy_spelling_stays_all_on_every_ack() -> None:
    """Envoy names no clusters in its ACKs either."""
    stream = running()

    assert [o.type_url for o in stream.update(changed((CLUSTER, "new")))] == [CLUSTER]


def test_3_1_20_the_legacy_spelling_is_for_clusters_and_listeners_only() -> None:
    """An empty list of routes is no routes."""
    assert SotwStream().receive(SotwRequest(ROUTE), FIRST) == []


def test_3_1_21_an_added_name_is_answered_though_the_nonce_was_used_and_nothing_changed() -> None:
    """Envoy adds a name with what looks like a second ACK; a server that drops it hangs the listener."""
    stream = SotwStream()
    (out,) = stream.receive(SotwRequest(ENDPOINT, ("c",)), FIRST)
    stream.receive(ack(out, "c"), FIRST)

    (added,) = stream.receive(ack(out, "c", "d"), FIRST)
    assert named(added) == {"d": "1"}
    stream.receive(ack(added, "c"), FIRST)
    (again,) = stream.receive(ack(added, "c", "d"), FIRST)
    assert named(again) == {"d": "1"}, "dropped and asked for again"


def test_3_1_22_a_request_with_a_stale_nonce_is_ignored() -> None:
    """A fresher one follows; this one's list of names is old."""
    stream = running()
    stale = stream._types[ENDPOINT].nonce
    now = changed((ENDPOINT, "c"))
    (out,) = stream.update(now)

    assert stream.receive(SotwRequest(ENDPOINT, ("c", "d"), stale, "v"), now) == []
    assert [named(o) for o in stream.receive(ack(out, "c", "d"), now)] == [{"d": "1"}]


def test_3_1_22_a_stale_refusal_is_still_a_refusal() -> None:
    """Its names are ignored, its verdict is not: the operator is told."""
    stream = running()
    (first,) = stream.update(changed((ROUTE, "r")))
    stream.receive(SotwRequest(ROUTE, ("r", "s"), first.nonce, "v"), FIRST)
    stream.update(changed((ROUTE, "r"), (ROUTE, "s")))
    stream.receive(SotwRequest(ROUTE, ("r", "s"), first.nonce, "v", "no"), FIRST)

    assert stream.nacks[ROUTE].names == {"r"}


def test_3_1_23_a_reconnected_client_is_sent_everything() -> None:
    """Its last version is no proof of what it holds; that is the safe default."""
    (out,) = SotwStream().receive(SotwRequest(ENDPOINT, ("c",), "", FIRST.type_version(ENDPOINT)), FIRST)

    assert named(out) == {"c": "1"}


def test_3_1_23_a_nonce_from_an_earlier_stream_does_not_hang_the_client() -> None:
    """Nothing was sent on this stream yet, so no nonce can be stale."""
    assert SotwStream().receive(SotwRequest(ENDPOINT, ("c",), "0.9", "v"), FIRST)
