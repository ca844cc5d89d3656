"""Tests of what a service descriptor gives to both ends."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.proto.client import Client
from ringfence.proto.lane import Call, Lane, methods_of
from ringfence.proto.service import parser_of, path_of, service_of
from ringfence.proto.status import Code, Status

SERVER = service_of(admin_pb2, "Server")


def test_path_and_parser() -> None:
    """A method has its path and parses its own request."""
    method = SERVER.methods_by_name["GenerateToken"]
    assert path_of(method) == "/ringfence.admin.v1.Server/GenerateToken"
    request = admin_pb2.GenerateTokenRequest(ttl=60)
    assert parser_of(method)(request.SerializeToString()) == request


def test_unknown_names() -> None:
    """A service or a method that is not there is an error at start, not at the first call."""
    with pytest.raises(KeyError):
        service_of(admin_pb2, "Nothing")
    with pytest.raises(KeyError):
        methods_of(SERVER, {"Nothing": lambda _: None})  # type: ignore[dict-item,return-value]


async def test_client_and_lane_meet(tmp_path: Path) -> None:
    """Unary and streaming methods, typed by the descriptor at both ends."""

    async def token(call: Call) -> None:
        request = await call.receive()
        await call.send(admin_pb2.GenerateTokenResponse(token="t" * request.ttl))

    async def tail(call: Call) -> None:
        request = await call.receive()
        for number in range(request.last):
            await call.send(admin_pb2.Decision(id=str(number)))
        raise Status(Code.UNAVAILABLE, "no more")

    lane = Lane(methods_of(SERVER, {"GenerateToken": token, "TailAuthz": tail}))
    await lane.listen_unix(tmp_path / "s")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        client = Client(channel, SERVER)
        answer = await client.GenerateToken(admin_pb2.GenerateTokenRequest(ttl=3))
        assert (type(answer), answer.token) == (admin_pb2.GenerateTokenResponse, "ttt")
        stream = client.TailAuthz(admin_pb2.TailAuthzRequest(last=2))
        assert [(await stream.read()).id for _ in range(2)] == ["0", "1"]
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(AttributeError, match="no method 'Nothing'"):
            client.Nothing  # noqa: B018 - asking is the test
    await lane.close()
