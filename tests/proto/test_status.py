"""Tests of how a call ends."""

from __future__ import annotations

import grpc

from ringfence.proto.status import Code, Status


def test_codes_are_those_of_grpc() -> None:
    """Names and numbers are grpcio's."""
    assert {code.name: int(code) for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


def test_repr_shows_no_trailers() -> None:
    """A status reads as its code and message; trailers may hold more than a log should."""
    assert repr(Status(Code.NOT_FOUND, "no such entry", {"token": "x"})) == "Status(NOT_FOUND, 'no such entry')"
