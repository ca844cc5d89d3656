"""Section 3.1 of the lines, the xDS protocol (Envoy's xds_protocol.rst and discovery.proto), as a server can show it.

What only a real proxy shows is held by the tests that the lines name.
"""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest, parse_delta, parse_sotw
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.subscription import GRPC, SDS, Dialect
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET
from tests.xds.streams import changes, named, resource, snapshot

FIRST = snapshot(
    (CLUSTER, resource(CLUSTER, "c", needs=[(ENDPOINT, "c")])),
    (ENDPOINT, resource(ENDPOINT, "c")),
    (ENDPOINT, resource(ENDPOINT, "d")),
    (LISTENER, resource(LISTENER, "l", needs=[(ROUTE, "r"), (EXTENSION_CONFIG, "e")])),
    (ROUTE, resource(ROUTE, "r")),
    (EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "e")),
)


def changed(*pairs: tuple[str, str], without: tuple[tuple[str, str], ...] = ()) -> Snapshot:
    """FIRST with the content of some resources changed or added, and some left out."""
    return Snapshot.of(
        [
            (url, resource(url, name, "2", r.needs) if (url, name) in pairs else r)
            for url, all_named in FIRST.resources.items()
            for name, r in all_named.items()
            if (url, name) not in without
        ]
        + [(url, resource(url, name, "2")) for url, name in pairs if name not in FIRST.named(url)],
        "r2",
    )


def ack(out: Out, *names: str) -> SotwRequest:
    """The request that accepts a SotW response."""
    return SotwRequest(out.type_url, names, out.nonce, out.version)


def running() -> SotwStream:
    """A stream whose client has taken all of FIRST."""
    stream = SotwStream()
    wants = {CLUSTER: (), ENDPOINT: ("c",), LISTENER: (), ROUTE: ("r",), EXTENSION_CONFIG: ("e",)}
    for url, names in wants.items():
        for out in stream.receive(SotwRequest(url, names), FIRST):
            assert stream.receive(ack(out, *names), FIRST) == []
    assert set(stream.acked) == set(wants)
    return stream


def running_delta() -> DeltaStream:
    """The same in the incremental variant."""
    stream = DeltaStream()
    wants = {CLUSTER: (), ENDPOINT: ("c",), LISTENER: (), ROUTE: ("r",), EXTENSION_CONFIG: ("e",)}
    for url, names in wants.items():
        for out in stream.receive(DeltaRequest(url, names), FIRST):
            assert stream.receive(DeltaRequest(url, nonce=out.nonce), FIRST) == []
    assert set(stream.acked) == set(wants)
    return stream


def test_3_1_1_a_request_without_a_node_is_read_and_of_a_node_little_is_kept() -> None:
    """Only the first request on a stream need carry a node; its hundreds of extensions are dropped."""
    node = {"id": "n", "cluster": "c", "metadata": {"ringfence": {"egress": "127.0.0.1:1"}}, "user_agent_name": "envoy"}
    request = message("envoy.service.discovery.v3.DiscoveryRequest")

    full = parse_sotw(request(node=node, type_url=LISTENER, resource_names=["l"]).SerializeToString())
    later = parse_sotw(request(type_url=LISTENER, version_info="v", response_nonce="n").SerializeToString())

    assert full.node is not None
    assert (full.node.id, full.node.cluster) == ("n", "c")
    assert full.node.metadata == {"ringfence": {"egress": "127.0.0.1:1"}}
    assert (full.names, later.node, later.version, later.nonce) == (("l",), None, "v", "n")


def test_3_1_1_what_is_no_request_is_refused() -> None:
    """Broken bytes are the caller's fault, and said so."""
    for parse in (parse_sotw, parse_delta):
        with pytest.raises(RingfenceError) as caught:
            parse(b"\xff\xff\xff")
        assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_3_1_2_an_unknown_type_keeps_the_stream_and_gets_nothing(stream: type, request_type: type) -> None:
    """A newer client may ask for what this server does not know."""
    machine = stream()

    assert machine.receive(request_type("type.googleapis.com/new.Thing", ("x",)), FIRST) == []
    assert machine.unknown == {"type.googleapis.com/new.Thing"}
    assert machine.receive(request_type(ROUTE, ("r",)), FIRST)


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_3_1_2_a_client_cannot_fill_the_memory_with_types_or_names(stream: type, request_type: type) -> None:
    """A few unknown types are remembered; too many names end the stream."""
    machine = stream()
    for number in range(100):
        machine.receive(request_type(f"type.googleapis.com/new.Thing{number}"), FIRST)
    assert len(machine.unknown) == 16
    with pytest.raises(RingfenceError) as caught:
        machine.receive(request_type(ROUTE, tuple(map(str, range(20_001)))), FIRST)
    assert caught.value.kind is Kind.EXHAUSTED


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_3_1_2_on_a_stream_of_one_type_the_type_is_implicit(stream: type, request_type: type) -> None:
    """StreamSecrets may leave the type URL out."""
    now = snapshot((SECRET, resource(SECRET, "default")))

    (out,) = stream(SDS).receive(request_type("", ("default",)), now)

    assert out.type_url == SECRET


def test_3_1_3_every_nonce_is_unique_on_its_stream() -> None:
    """Over all types, and over all epochs of whoever drives the stream."""
    stream = SotwStream()
    outs = [o for url in (CLUSTER, LISTENER) for o in stream.receive(SotwRequest(url), FIRST)]
    outs += stream.update(changed((CLUSTER, "c"), (LISTENER, "l")))
    outs += stream.update(FIRST, 5)
    outs += stream.update(changed((CLUSTER, "c")), 6)

    assert all(out.nonce for out in outs)
    assert len({out.nonce for out in outs}) == len(outs) == 7


def test_3_1_4_types_have_states_of_their_own() -> None:
    """A nonce of one type means nothing to another, nor does a NACK."""
    stream = running()
    (out,) = stream.update(changed((ROUTE, "r")))
    stream.receive(SotwRequest(ROUTE, ("r",), out.nonce, "old", "no"), FIRST)

    assert set(stream.nacks) == {ROUTE}
    assert EXTENSION_CONFIG in stream.acked


def test_3_1_5_no_response_holds_a_name_twice() -> None:
    """Not even when the client names it twice (`named` and `changes` check it of every response)."""
    assert len(named(SotwStream().receive(SotwRequest(ROUTE, ("r", "r")), FIRST)[0])) == 1
    assert len(changes(DeltaStream().receive(DeltaRequest(ROUTE, ("r", "r")), FIRST)[0])[0]) == 1


def test_3_1_6_an_ack_or_an_equal_snapshot_sends_nothing() -> None:
    """Otherwise every answer would cause the next."""
    assert running().update(changed()) == []
    assert running_delta().update(changed()) == []


def test_3_1_6_a_change_that_the_client_did_not_ask_for_sends_nothing() -> None:
    """Endpoint `d` is no business of this client."""
    assert running().update(changed((ENDPOINT, "d"))) == []
    assert running_delta().update(changed((ENDPOINT, "d"))) == []


def test_3_1_7_only_an_error_is_a_nack() -> None:
    """An older version alone refuses nothing."""
    stream = running()
    (out,) = stream.update(changed((ROUTE, "r")))
    stream.receive(SotwRequest(ROUTE, ("r",), out.nonce, "older"), FIRST)

    assert not stream.nacks


def test_3_1_8_what_was_refused_is_not_sent_again_until_it_changes() -> None:
    """The refused version is dead; the next one goes out."""
    stream, bad = running(), changed((ROUTE, "r"))
    (out,) = stream.update(bad)

    assert stream.receive(SotwRequest(ROUTE, ("r",), out.nonce, "1", "bad"), bad) == []
    assert stream.update(bad) == []
    assert stream.nacks[ROUTE].detail == "bad"
    assert stream.nacks[ROUTE].version == out.version
    assert stream.acked[ROUTE] != out.version
    assert [named(o) for o in stream.update(FIRST)] == [{"r": "1"}]


def test_3_1_8_the_same_in_delta() -> None:
    """The refused version is dead; the next one goes out."""
    stream, bad = running_delta(), changed((ROUTE, "r"))
    (out,) = stream.update(bad)

    assert stream.receive(DeltaRequest(ROUTE, nonce=out.nonce, error="bad"), bad) == []
    assert stream.update(bad) == []
    assert stream.nacks[ROUTE].detail == "bad"
    assert [changes(o) for o in stream.update(FIRST)] == [({"r": "1"}, set())]


def test_3_1_11_a_later_request_with_an_older_version_does_not_accept_what_was_refused() -> None:
    """It changes the subscription, and repeats the nonce of the refused response because that was the last."""
    stream, bad = running(), changed((EXTENSION_CONFIG, "e"))
    before = stream.acked[EXTENSION_CONFIG]
    (out,) = stream.update(bad)
    stream.receive(SotwRequest(EXTENSION_CONFIG, ("e",), out.nonce, before, "bad"), bad)

    stream.receive(SotwRequest(EXTENSION_CONFIG, ("e", "f"), out.nonce, before), bad)

    assert stream.acked[EXTENSION_CONFIG] == before
    assert EXTENSION_CONFIG in stream.nacks


def test_3_1_12_what_is_referred_to_is_pushed_first_and_removals_last() -> None:
    """CDS, EDS, LDS, RDS, ECDS; the cluster that goes is in the first response still."""
    after = changed(
        (CLUSTER, "new"),
        (ENDPOINT, "c"),
        (LISTENER, "l"),
        (ROUTE, "r"),
        (EXTENSION_CONFIG, "e"),
        without=((CLUSTER, "c"),),
    )

    outs = running().update(after)

    assert [o.type_url for o in outs] == [CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG, CLUSTER]
    assert set(named(outs[0])) == {"c", "new"}
    assert set(named(outs[-1])) == {"new"}


def test_3_1_12_the_same_in_delta() -> None:
    """CDS, EDS, LDS, RDS, ECDS, then the removal."""
    after = changed(
        (CLUSTER, "new"),
        (ENDPOINT, "c"),
        (LISTENER, "l"),
        (ROUTE, "r"),
        (EXTENSION_CONFIG, "e"),
        without=((CLUSTER, "c"),),
    )

    outs = running_delta().update(after)

    assert [o.type_url for o in outs] == [CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG, CLUSTER]
    assert changes(outs[-1]) == ({}, {"c"})


@pytest.mark.parametrize("make", [running, running_delta])
def test_3_1_13_a_changed_cluster_gets_its_endpoints_again(make: type) -> None:
    """Without it the cluster warms until its fetch timeout; and no ACK of the cluster is waited for."""
    outs = make().update(changed((CLUSTER, "c")))

    assert [o.type_url for o in outs] == [CLUSTER, ENDPOINT]


@pytest.mark.parametrize("make", [running, running_delta])
def test_3_1_13_a_changed_listener_gets_its_routes_and_filters_again(make: type) -> None:
    """A listener that warms asks for what it needs, if only silently."""
    outs = make().update(changed((LISTENER, "l")))

    assert [o.type_url for o in outs] == [LISTENER, ROUTE, EXTENSION_CONFIG]


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_3_1_14_a_name_asked_for_in_vain_is_pushed_when_it_appears(stream: type, request_type: type) -> None:
    """The server remembers what was missing."""
    machine = stream()
    machine.receive(request_type(ROUTE, ("later",)), FIRST)

    (out,) = machine.update(changed((ROUTE, "later")))

    assert b"later=2" in out.payload


def test_3_1_15_nothing_has_a_time_to_live() -> None:
    """So no heartbeat is owed: what a proxy holds stays in force while the server is away."""
    after = changed((CLUSTER, "c"), (ROUTE, "r"))
    for out in running_delta().update(after):
        read: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(out.payload)
        assert read.resources
        assert not any(entry.HasField("ttl") for entry in read.resources)
    for out in running().update(after):  # without the wrapper, which alone could have one
        whole: Any = message("envoy.service.discovery.v3.DiscoveryResponse").FromString(out.payload)
        assert {entry.type_url for entry in whole.resources} == {out.type_url}


def errors(out: Out, response: str) -> dict[str, tuple[int, str]]:
    """Code and text of each name that is said to be missing; none of them is among the resources."""
    read: Any = message(f"envoy.service.discovery.v3.{response}").FromString(out.payload)
    found = {e.resource_name.name: (e.error_detail.code, e.error_detail.message) for e in read.resource_errors}
    assert not any(f"{name}=".encode() in entry.SerializeToString() for name in found for entry in read.resources)
    return found


@pytest.mark.parametrize("url", [CLUSTER, ENDPOINT, ROUTE, EXTENSION_CONFIG])
def test_3_1_16_a_name_asked_for_in_vain_is_said_to_be_missing(url: str) -> None:
    """NOT_FOUND, once, and beside what there is; whether it is another's or nobody's is not told."""
    there = next(iter(FIRST.named(url)))
    sotw, delta = SotwStream(), DeltaStream()
    (whole,) = sotw.receive(SotwRequest(url, (there, "other")), FIRST)
    (part,) = delta.receive(DeltaRequest(url, (there, "other")), FIRST)

    for said in (errors(whole, "DiscoveryResponse"), errors(part, "DeltaDiscoveryResponse")):
        assert {name: code for name, (code, _) in said.items()} == {"other": 5}
        assert "or no rule lets it have it" in said["other"][1]
    assert named(whole) == {there: "1"}
    assert changes(part) == ({there: "1"}, {"other"}), "older clients know of removed_resources alone"
    assert sotw.receive(ack(whole, there, "other"), FIRST) == []
    assert delta.receive(DeltaRequest(url, nonce=part.nonce), FIRST) == []
    after = changed((url, there))
    assert [errors(out, "DiscoveryResponse") for out in sotw.update(after) if out.type_url == url] == [{}]
    assert [errors(out, "DeltaDiscoveryResponse") for out in delta.update(after) if out.type_url == url] == [{}]


@pytest.mark.parametrize("stream", [SotwStream, DeltaStream])
def test_3_1_16_a_missing_secret_is_no_error_of_a_resource(stream: type) -> None:
    """Envoy would take an empty answer for a broken secret, and SDS has its own way to refuse."""
    request = SotwRequest(SECRET, ("x",)) if stream is SotwStream else DeltaRequest(SECRET, ("x",))
    for out in stream(SDS).receive(request, snapshot()):
        assert errors(out, "DeltaDiscoveryResponse") == {}


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_3_1_24_what_does_not_exist_is_said_at_once(stream: type, request_type: type) -> None:
    """No client has to wait for its timeout to learn it, whatever else is there."""
    for url in (CLUSTER, LISTENER, ROUTE, ENDPOINT):
        assert len(stream().receive(request_type(url, ("missing",)), FIRST)) == 1


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


def test_3_1_25_several_names_in_one_request_and_several_streams_a_type_both_work() -> None:
    """Envoy opens a stream a secret, gRPC asks for all in one."""
    now = snapshot((SECRET, resource(SECRET, "ALL")), (SECRET, resource(SECRET, "default")))

    assert set(named(SotwStream(SDS).receive(SotwRequest(SECRET, ("ALL", "default")), now)[0])) == {"ALL", "default"}
    for name in ("ALL", "default"):
        assert set(named(SotwStream(SDS).receive(SotwRequest(SECRET, (name,)), now)[0])) == {name}


def test_3_1_26_an_ack_takes_the_nonce_of_its_response_and_others_mean_nothing() -> None:
    """A spontaneous request has no nonce; one that was never given accepts nothing."""
    stream = DeltaStream()
    (out,) = stream.receive(DeltaRequest(ROUTE, ("r",)), FIRST)

    stream.receive(DeltaRequest(ROUTE, nonce="never"), FIRST)
    assert not stream.acked
    stream.receive(DeltaRequest(ROUTE, nonce=out.nonce), FIRST)
    assert stream.acked == {ROUTE: out.version}


def test_3_1_27_a_stale_nonce_does_not_lose_a_change_of_subscription() -> None:
    """No later request repeats the change."""
    stream = DeltaStream()
    (stale,) = stream.receive(DeltaRequest(ENDPOINT, ("c",)), FIRST)
    stream.update(changed((ENDPOINT, "c")))

    (out,) = stream.receive(DeltaRequest(ENDPOINT, ("d",), nonce=stale.nonce), FIRST)

    assert "d" in changes(out)[0]


def test_3_1_28_all_is_a_star_or_a_first_request_that_names_nothing() -> None:
    """And dropping the last name does not bring all back."""
    for first in (DeltaRequest(CLUSTER), DeltaRequest(CLUSTER, ("*",))):
        assert changes(DeltaStream().receive(first, FIRST)[0])[0] == {"c": "1"}
    stream = DeltaStream()
    stream.receive(DeltaRequest(CLUSTER, ("c",)), FIRST)

    assert stream.receive(DeltaRequest(CLUSTER, (), ("c",)), FIRST) == []
    assert stream.receive(DeltaRequest(CLUSTER), FIRST) == []
    assert stream.update(changed((CLUSTER, "c"))) == []


def test_3_1_28_the_star_can_be_dropped() -> None:
    """Then only what was named stays."""
    stream, now = DeltaStream(), changed((CLUSTER, "A"))
    stream.receive(DeltaRequest(CLUSTER, ("*", "A")), now)

    assert stream.receive(DeltaRequest(CLUSTER, (), ("*",)), now) == []
    assert stream.update(changed((CLUSTER, "A"), (CLUSTER, "c"))) == []
    assert [changes(o) for o in stream.update(FIRST)] == [({}, {"A"})]


def test_3_1_29_every_subscribed_name_is_answered() -> None:
    """Even if the server believes that the client has it."""
    (out,) = running_delta().receive(DeltaRequest(ROUTE, ("r",)), FIRST)

    assert changes(out) == ({"r": "1"}, set())


def test_3_1_30_dropping_an_unknown_name_is_ignored() -> None:
    """Whether all is subscribed to or not."""
    assert running_delta().receive(DeltaRequest(ROUTE, (), ("never",)), FIRST) == []
    assert running_delta().receive(DeltaRequest(CLUSTER, (), ("never",)), FIRST) == []


def test_3_1_30_dropping_a_name_beside_a_star_is_answered() -> None:
    """The client forgot it, but `*` still covers it, or it is gone."""
    stream = running_delta()
    stream.receive(DeltaRequest(CLUSTER, ("c", "missing")), FIRST)

    (out,) = stream.receive(DeltaRequest(CLUSTER, (), ("c", "missing")), FIRST)

    assert changes(out) == ({"c": "1"}, {"missing"})


def test_3_1_31_a_missing_name_is_said_to_be_missing_at_once() -> None:
    """No timeout is waited for."""
    (out,) = DeltaStream().receive(DeltaRequest(ROUTE, ("missing",)), FIRST)

    assert changes(out) == ({}, {"missing"})


def test_3_1_32_what_is_unchanged_is_not_sent_and_what_is_gone_is_named() -> None:
    """One response holds the change alone."""
    (added, *_) = running_delta().update(changed((CLUSTER, "new")))
    (removed,) = running_delta().update(changed(without=((CLUSTER, "c"),)))

    assert changes(added) == ({"new": "2"}, set())
    assert changes(removed) == ({}, {"c"})


def test_3_1_33_a_reconnected_client_gets_what_changed_and_what_vanished() -> None:
    """What it holds in the current version is skipped."""
    current = FIRST.named(CLUSTER)["c"].version
    (same,) = DeltaStream().receive(DeltaRequest(CLUSTER, initial={"c": current}), FIRST)
    (out,) = DeltaStream().receive(DeltaRequest(CLUSTER, initial={"c": "old", "vanished": "1"}), FIRST)

    assert changes(same) == ({}, set())
    assert changes(out) == ({"c": "1"}, {"vanished"})


def test_3_1_33_initial_versions_count_in_the_first_request_only() -> None:
    """Later ones are no truth: the server knows what it sent."""
    stream = running_delta()
    stream.receive(DeltaRequest(CLUSTER, initial={"ghost": "1"}), FIRST)

    assert [changes(o)[1] for o in stream.update(changed(without=((CLUSTER, "c"),)))] == [{"c"}]


@pytest.mark.parametrize("url", [ROUTE, EXTENSION_CONFIG, LISTENER])
def test_3_1_33_a_named_resource_that_comes_back_in_its_version_is_not_sent_again(url: str) -> None:
    """The client says in one request that it wants it and that it has it; in another version it gets it."""
    name = next(iter(FIRST.named(url)))
    current = FIRST.named(url)[name].version

    assert DeltaStream().receive(DeltaRequest(url, (name,), initial={name: current}), FIRST) == []
    (out,) = DeltaStream().receive(DeltaRequest(url, (name,), initial={name: "old"}), FIRST)
    assert changes(out) == ({name: "1"}, set())
    (out,) = running_delta().receive(DeltaRequest(url, (name,), initial={name: current}), FIRST)
    assert changes(out) == ({name: "1"}, set()), "29: not on a stream that goes on"


def test_3_1_33_endpoints_are_sent_though_their_version_matches() -> None:
    """A cluster that was warming when the stream broke waits for them, and the client does not say so (13)."""
    current = FIRST.named(ENDPOINT)["c"].version
    (out,) = DeltaStream().receive(DeltaRequest(ENDPOINT, ("c",), initial={"c": current}), FIRST)

    assert changes(out) == ({"c": "1"}, set())


def test_3_1_34_every_delta_resource_has_its_name_and_version() -> None:
    """The wrapper's name is that of the resource."""
    (out,) = DeltaStream().receive(DeltaRequest(ROUTE, ("r",)), FIRST)
    read = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(out.payload)

    assert [(e.name, e.version) for e in read.resources] == [("r", FIRST.named(ROUTE)["r"].version)]  # type: ignore[attr-defined]


def test_3_1_35_versions_are_of_content_and_what_they_come_from_is_said_beside_them() -> None:
    """Another push of the same content is no change; who traces a push finds its name in the response."""
    delta, sotw = running_delta(), running()
    after = changed((ROUTE, "r"))
    (part,) = delta.update(after, 7, "trace 4bf9")
    (whole,) = sotw.update(after, 7, "trace 4bf9")
    one: Any = message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(part.payload)
    two: Any = message("envoy.service.discovery.v3.DiscoveryResponse").FromString(whole.payload)

    assert (one.system_version_info, two.version_info) == (after.type_version(ROUTE),) * 2
    assert (one.control_plane.identifier, two.control_plane.identifier) == ("trace 4bf9",) * 2
    assert delta.update(after, 8, "trace 90c1") == sotw.update(after, 8, "trace 90c1") == []


def test_3_1_35_equal_pushes_are_one_bytes_object_and_nobody_pays_for_a_name_that_is_not_there() -> None:
    """However many streams send it; without telemetry no byte says where it is from."""
    after = changed((ROUTE, "r"))
    pushed = [running_delta().update(after, 7, origin)[0].payload for origin in ("trace 4bf9", "trace 4bf9", "")]

    assert pushed[0] is pushed[1]
    assert b"4bf9" in pushed[0]
    assert len(pushed[0]) - len(pushed[2]) == len("trace 4bf9") + 4


def test_3_1_36_a_grpc_library_names_what_it_wants_and_gets_nothing_else() -> None:
    """There is no wildcard, and no type that it does not know; an empty list is nothing."""
    assert SotwStream(GRPC).receive(SotwRequest(EXTENSION_CONFIG, ("e",)), FIRST) == []
    (nothing,) = SotwStream(GRPC).receive(SotwRequest(CLUSTER), FIRST)
    (out,) = SotwStream(GRPC).receive(SotwRequest(CLUSTER, ("c",)), FIRST)

    assert (named(nothing), named(out)) == ({}, {"c": "1"})


@pytest.mark.parametrize(("stream", "request_type"), [(SotwStream, SotwRequest), (DeltaStream, DeltaRequest)])
def test_sds_naming_nothing_is_everything_and_an_unknown_name_is_the_callers_affair(
    stream: type, request_type: type
) -> None:
    """As SPIRE's agent serves secrets: all of them unasked, and a refusal for what a workload may not have."""
    now = snapshot((SECRET, resource(SECRET, "ALL")), (SECRET, resource(SECRET, "default")))
    asked = []

    def refuse(url: str, names: frozenset[str]) -> None:
        asked.append((url, names))
        raise RingfenceError(Kind.INVALID, "not authorized")

    dialect = Dialect((SECRET,), (SECRET,), frozenset({SECRET}), implicit=SECRET, on_missing=refuse)

    (out,) = stream(dialect).receive(request_type(SECRET), now)
    assert b"ALL" in out.payload
    assert b"default" in out.payload
    with pytest.raises(RingfenceError):
        stream(dialect).receive(request_type(SECRET, ("other", "ALL")), now)
    assert asked == [(SECRET, frozenset({"other"}))]
