"""Section 3.1 of the lines that are of the incremental variant (xds_protocol.rst and discovery.proto)."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.xds.codec import message
from ringfence.xds.delta import DeltaStream
from ringfence.xds.dialect import GRPC
from ringfence.xds.discovery import DeltaRequest, SotwRequest
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.conformance.xds_first import FIRST, changed, running, running_delta
from tests.xds.streams import changes, named


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
