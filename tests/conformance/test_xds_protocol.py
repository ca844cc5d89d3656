"""Section 3.1 of the lines, the xDS protocol (Envoy's xds_protocol.rst and discovery.proto), as a server can show it.

What only a real proxy shows is held by the tests that the lines name.
"""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.dialect import SDS, Dialect
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest, parse_delta, parse_sotw
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET
from tests.conformance.xds_first import FIRST, ack, changed, running, running_delta
from tests.xds.streams import changes, named, resource, snapshot


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


def test_3_1_25_several_names_in_one_request_and_several_streams_a_type_both_work() -> None:
    """Envoy opens a stream a secret, gRPC asks for all in one."""
    now = snapshot((SECRET, resource(SECRET, "ALL")), (SECRET, resource(SECRET, "default")))

    assert set(named(SotwStream(SDS).receive(SotwRequest(SECRET, ("ALL", "default")), now)[0])) == {"ALL", "default"}
    for name in ("ALL", "default"):
        assert set(named(SotwStream(SDS).receive(SotwRequest(SECRET, (name,)), now)[0])) == {name}


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
