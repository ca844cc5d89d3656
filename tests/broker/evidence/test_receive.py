"""From OTLP to records: what is read, who is believed, what is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from ringfence.broker.evidence.receive import records_of, spans_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds import decision as envoy
from tests.broker.evidence.records import CLIENT, TRACE, WEB, attributes, denied_request, export

REPORTER = SpiffeId.parse(WEB)
NO_TRACE = "00" * 16


def test_a_denied_request_is_read() -> None:
    """Verdict, rule, request and trace id; `-` means absent."""
    (found,) = records_of(export(denied_request()), REPORTER)

    assert (found.id, found.allowed, found.rule, found.rule_hash) == (TRACE, False, "default-deny", "builtin")
    assert (found.source, found.destination, found.method, found.path) == (CLIENT, WEB, "POST", "/a")
    assert (found.status, found.point, found.time_ns) == (403, "envoy.http", 7)
    assert found.attributes == {"listener": "inbound/http", "peer.address": "127.0.0.1:5000"}


def test_the_reporter_is_who_its_certificate_says() -> None:
    """A proxy that claims another identity in its record speaks for itself all the same."""
    claim = denied_request(**{envoy.LOCAL: "spiffe://example.test/ns/x/sa/y", envoy.IDENTITY: "spiffe://a/b"})
    (inbound,) = records_of(export(claim), REPORTER)
    outbound = denied_request(
        **{envoy.POINT: envoy.POINT_EGRESS, envoy.PEER: "spiffe://a/b", envoy.AUTHORITY: "hub.example"}
    )
    (egress,) = records_of(export(outbound), REPORTER)

    assert inbound.destination == WEB
    assert (egress.source, egress.destination) == (WEB, "hub.example")


def test_a_connection_is_known_by_its_stream_and_a_failed_handshake_by_place_and_time() -> None:
    """Neither has a trace id."""
    tcp = {
        envoy.POINT: envoy.POINT_TCP,
        envoy.STREAM_ID: "s-1",
        envoy.CONNECTION: "team-a/db@abc",
        envoy.CONNECTION_RESULT: "allowed",
        envoy.PEER: CLIENT,
    }
    tls = {
        envoy.POINT: envoy.POINT_TLS,
        envoy.LISTENER: "inbound/db",
        envoy.PEER_ADDRESS: "127.0.0.1:9",
        envoy.TLS_FAILURE: "TLS_error: no certificate",
        envoy.STREAM_ID: "s-2",
    }
    connection, handshake = records_of(export(tcp, tls, trace=NO_TRACE), REPORTER)

    assert (connection.id, connection.allowed, connection.rule) == ("s-1", True, "team-a/db")
    assert (handshake.id, handshake.rule) == ("inbound/db/127.0.0.1:9/7", "not-mtls")
    assert handshake.source == "127.0.0.1:9"
    assert handshake.attributes["tls.failure"] == "TLS_error: no certificate"


@pytest.mark.parametrize("point", ["", "made.up", envoy.POINT_OUTBOUND])
def test_what_decided_nothing_is_left_out(point: str) -> None:
    """A record of another point, or of a call that failed on the way, is no decision."""
    assert list(records_of(export(denied_request(**{envoy.POINT: point})), REPORTER)) == []


def test_values_are_bounded_and_unknown_names_are_dropped() -> None:
    """A proxy cannot fill the store with attributes of its own."""
    (found,) = records_of(export(denied_request(**{envoy.PATH: "/" + "a" * 70_000, "own": "x"})), REPORTER)

    assert len(found.path) == 1024
    assert "own" not in found.attributes


@given(st.dictionaries(st.sampled_from(sorted(denied_request())), st.text(max_size=20)))
def test_nothing_that_a_proxy_writes_breaks_the_reader(changes: dict[str, str]) -> None:
    """Any text in any attribute gives a record or none, never an error."""
    for found in records_of(export(denied_request(**changes)), REPORTER):
        assert WEB in {found.destination, found.source}


def test_a_caller_in_plaintext_is_named_so() -> None:
    """Whatever stands where its certificate would: it had none."""
    (found,) = records_of(export(denied_request(**{envoy.PLAINTEXT: "true", envoy.PEER: CLIENT})), REPORTER)

    assert (found.source, found.attributes["plaintext"]) == ("plaintext", "true")


def test_spans_keep_our_attributes_only() -> None:
    """Envoy writes twenty more that nobody asks for here."""
    span = Span(
        name="ingress",
        trace_id=bytes.fromhex(TRACE),
        span_id=b"12345678",
        attributes=attributes({envoy.LISTENER: "inbound/http", "http.url": "x"}),
    )
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
    (found,) = spans_of(request)

    assert (found.trace_id, found.attributes) == (TRACE, {envoy.LISTENER: "inbound/http"})
