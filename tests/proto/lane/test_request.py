"""Requests: which fields make one, and what they mean as gRPC."""

from __future__ import annotations

import pytest

from ringfence.proto.lane.faults import ProtocolError
from ringfence.proto.lane.request import Fields, check_trailers, request_of
from tests.proto.lane import raw


def said(*extra: tuple[str, str], without: str = "") -> Fields:
    """The fields of a usual request, with *extra*."""
    return tuple((n.encode(), v.encode("latin-1")) for n, v in raw.request_headers("/t/Upper", *extra, without=without))


def test_a_usual_request_is_one() -> None:
    """A path, no refusal, and the seconds that the client waits."""
    request = request_of(said(("grpc-timeout", "2S"), ("x-own", "a b")))
    assert (request.path, request.timeout, request.timeout_fault, request.refusal) == ("/t/Upper", 2.0, None, None)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("8.3.1 without a method", said(without=":method")),
        ("8.3.1 an empty path", ((b":path", b""), *said(without=":path"))),
        ("8.3.1 without an authority", said(without=":authority")),
        ("8.3.1 two authorities", said(("host", "elsewhere"))),
        ("8.3 a pseudo-header twice", ((b":method", b"POST"), *said())),
        ("8.3 a pseudo-header of a response", ((b":status", b"200"), *said())),
        ("8.3 a pseudo-header after the others", (*said(without=":path"), (b":path", b"/t/Upper"))),
        ("8.2 capitals", said(("X-Own", "1"))),
        ("8.2.1 a space in a name", said(("x own", "1"))),
        ("8.2.1 an empty name", (*said(), (b"", b"1"))),
        ("8.2.1 a line feed in a value", said(("x-own", "a\nb"))),
        ("8.2.1 a zero byte in a value", said(("x-own", "a\0b"))),
        ("8.2.1 space around a value", said(("x-own", " a"))),
        ("8.2.1 a line feed in a path", ((b":path", b"/a\n"), *said(without=":path"))),
        ("8.2.2 of the connection", said(("connection", "keep-alive"))),
        ("8.2.2 of the connection", said(("transfer-encoding", "chunked"))),
        ("8.2.2 te other than trailers", said(("te", "gzip"))),
    ],
)
def test_a_malformed_request_is_refused(section: str, fields: Fields) -> None:
    """Each rule of RFC 9113 sections 8.2 and 8.3."""
    with pytest.raises(ProtocolError):
        pytest.fail(f"{section}: {request_of(fields)}")


def test_host_may_stand_for_the_authority() -> None:
    """An intermediary from HTTP/1.1 sends a Host field (section 8.3.1)."""
    assert request_of(said(("host", "localhost"), without=":authority")).path == "/t/Upper"
    assert request_of(said(("host", "localhost"))).path == "/t/Upper"


def test_trailers_have_no_pseudo_header_fields() -> None:
    """What ends a request may not change it (section 8.1)."""
    check_trailers(((b"x-checksum", b"1"),))
    with pytest.raises(ProtocolError):
        check_trailers(((b":path", b"/other"),))
