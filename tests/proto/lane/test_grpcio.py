"""The lane as grpcio's client sees it: every kind of call, its metadata, its end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from ringfence.proto.lane import Call, Limits, Method, RefusedBut
from ringfence.proto.status import Code, Status
from tests.proto.lane.conftest import Serve
from tests.proto.lane.handlers import Watched, methods


async def failure(awaitable: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_unary(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A unary call gets its one answer."""
    await serve()
    assert await channel.unary_unary("/t/Upper")(b"quiet") == b"QUIET"


async def test_empty_messages(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A message of no bytes is a message."""
    await serve()
    assert await channel.unary_unary("/t/Upper")(b"") == b""


async def test_server_stream(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A server stream arrives whole and in order."""
    await serve()
    call = channel.unary_stream("/t/Numbers")(b"100")
    assert [message async for message in call] == [str(number).encode() for number in range(100)]


async def test_server_stream_of_nothing(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A stream without messages ends with OK in its only header block."""
    await serve()
    call = channel.unary_stream("/t/Numbers")(b"0")
    assert [message async for message in call] == []
    assert await call.code() is grpc.StatusCode.OK


async def test_bidi_and_half_close(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Both ways interleave, the client's half-close reaches the handler, and trailers come last."""
    await serve()
    call = channel.stream_stream("/t/Echo")()
    for word in (b"a", b"b", b"c"):
        await call.write(word)
        assert await call.read() == word
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert dict(await call.trailing_metadata()) == {"count": "3"}


@pytest.mark.slow
async def test_many_calls_on_one_connection(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Hundreds of calls at once on one connection do not mix."""
    await serve()
    upper = channel.unary_unary("/t/Upper")
    words = [f"word {number}".encode() for number in range(300)]
    assert await asyncio.gather(*(upper(word) for word in words)) == [word.upper() for word in words]


@pytest.mark.slow
async def test_messages_larger_than_every_window(serve: Serve, channel: grpc.aio.Channel) -> None:
    """3 MiB pass both ways though no window holds them."""
    await serve()
    big = bytes(3 * 1024 * 1024)
    assert await channel.unary_unary("/t/Upper")(big) == big


async def test_message_past_the_limit(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A message larger than the limit is refused before it is buffered, and says the limit."""
    await serve(limits=Limits(message=1000))
    error = await failure(channel.unary_unary("/t/Upper")(bytes(1001)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "the message has 1001 bytes, the limit is 1000"
    assert await channel.unary_unary("/t/Upper")(b"x" * 1000) == b"X" * 1000


async def test_compressed_message_is_refused(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A compressed message is refused with UNIMPLEMENTED, and the server names identity as what it takes."""
    await serve()
    call = channel.unary_unary("/t/Upper")(bytes(5000), compression=grpc.Compression.Gzip)
    error = await failure(call)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_unknown_method(serve: Serve, channel: grpc.aio.Channel) -> None:
    """An unknown method is UNIMPLEMENTED, by name."""
    await serve()
    error = await failure(channel.unary_unary("/t/Nothing")(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "this server has no method /t/Nothing")


async def test_status_with_message_and_trailers(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A status reaches the caller whole: percent signs, umlauts, line ends and binary trailers."""
    await serve()
    error = await failure(channel.unary_unary("/t/Refuse")(b""))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "kein Schlüssel: 100%\n"
    assert dict(error.trailing_metadata()) == {"why": "gone", "why-bin": b"\x00\xff"}


async def test_crash_tells_nothing(serve: Serve, channel: grpc.aio.Channel) -> None:
    """What a handler fails with stays in the server unless a hook says otherwise."""
    await serve()
    error = await failure(channel.unary_unary("/t/Crash")(b""))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "42" not in (error.details() or "")


async def test_error_hook(serve: Serve, channel: grpc.aio.Channel) -> None:
    """The hook turns the error of a handler into the status that the caller sees."""
    await serve(on_error=lambda error: Status(Code.FAILED_PRECONDITION, type(error).__name__))
    error = await failure(channel.unary_unary("/t/Crash")(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "RuntimeError")


async def test_request_that_does_not_parse(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A request that the parser refuses ends the call, not the server."""

    def parse(_data: bytes) -> None:
        raise ValueError("no such field")

    await serve(methods(Strict=Method(methods()["/t/Silent"].handler, parse)))
    error = await failure(channel.unary_unary("/t/Strict")(b"x"))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "the request of /t/Strict does not parse")


async def test_metadata_both_ways(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Text, repeated and binary metadata arrive; gRPC's own headers are not among them."""
    seen: dict[str, Any] = {}

    async def reflect(call: Call) -> None:
        seen.update(call.metadata, raw=call.binary("b-bin"))
        call.initial_metadata["first"] = "one"
        call.initial_metadata["first-bin"] = b"\x01\x02"
        await call.send(b"")
        call.trailing_metadata["last-bin"] = bytes(range(256))

    await serve(methods(Reflect=Method(reflect, bytes)))
    call = channel.unary_unary("/t/Reflect")(
        b"", metadata=(("a", "1"), ("a", "2"), ("b-bin", b"\x00\xfe"), ("b-bin", b"z"))
    )
    await call
    assert seen["a"] == ("1", "2")
    assert seen["raw"] == (b"\x00\xfe", b"z")
    assert not {name for name in seen if name.startswith((":", "grpc-")) or name in {"te", "content-type"}}
    initial = dict(await call.initial_metadata())
    assert (initial["first"], initial["first-bin"]) == ("one", b"\x01\x02")
    assert dict(await call.trailing_metadata()) == {"last-bin": bytes(range(256))}


@pytest.mark.parametrize("bad", [{"Upper": "x"}, {"text": "ü"}, {"line": "a\nb"}, {"a b": "x"}])
async def test_metadata_that_cannot_be_sent(serve: Serve, channel: grpc.aio.Channel, bad: dict[str, str]) -> None:
    """Trailers that HTTP/2 cannot carry end the call with an error instead of breaking the connection."""

    async def wrong(call: Call) -> None:
        call.trailing_metadata.update(bad)

    await serve(methods(Wrong=Method(wrong, bytes)))
    assert (await failure(channel.unary_unary("/t/Wrong")(b""))).code() is grpc.StatusCode.INTERNAL
    assert await channel.unary_unary("/t/Upper")(b"on") == b"ON"


async def test_deadline(serve: Serve, channel: grpc.aio.Channel) -> None:
    """At its deadline the handler is cancelled; the call knew when that would be."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    error = await failure(channel.stream_unary("/t/Watched")(iter(()), timeout=1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(watched.cancelled.wait(), 30)
    deadline = watched.calls[0].deadline
    # The client's own clock may have ended it a little before.
    assert deadline == pytest.approx(asyncio.get_running_loop().time(), abs=20)


async def test_no_deadline(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Without a timeout there is no deadline."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    call = channel.unary_stream("/t/Watched")(b"")
    await call.read()
    assert watched.calls[0].deadline is None
    call.cancel()


async def test_cancel_reaches_the_handler(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A client that cancels cancels the handler, whatever it waits for."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    call = channel.unary_stream("/t/Watched")(b"")
    assert await call.read() == b"first"
    call.cancel()
    await asyncio.wait_for(watched.cancelled.wait(), 30)
    with pytest.raises(Status, match="the call has ended"):
        await watched.calls[0].send(b"late")
    assert not watched.calls[0].try_send(b"late")


async def test_lost_connection_cancels(serve: Serve, socket_path: str) -> None:
    """A client that goes away cancels its handlers, and handlers can watch the connection's end."""
    watched = Watched()
    await serve(methods(Watched=Method(watched, bytes)))
    async with grpc.aio.insecure_channel(f"unix:{socket_path}") as channel:
        call = channel.unary_stream("/t/Watched")(b"")
        await call.read()
        del call
    await asyncio.wait_for(watched.cancelled.wait(), 30)
    await asyncio.wait_for(watched.calls[0].connection.closed, 30)


async def test_handler_that_ends_early(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A handler may end a client's stream before the client does; the connection stays good."""

    async def first_only(call: Call) -> None:
        await call.send(await call.receive())

    await serve(methods(First=Method(first_only, bytes)))
    call = channel.stream_stream("/t/First")()
    await call.write(b"one")
    assert await call.read() == b"one"
    assert await call.code() is grpc.StatusCode.OK
    assert await channel.unary_unary("/t/Upper")(b"on") == b"ON"


async def test_connection_state_is_shared_by_its_calls(serve: Serve, channel: grpc.aio.Channel) -> None:
    """What the connect hook keeps in the connection's context, every call of it finds; the hook ran once."""

    async def tell(call: Call) -> None:
        await call.send(call.connection.context["who"])

    names = iter((b"first", b"second"))
    await serve(
        methods(Tell=Method(tell, bytes)),
        on_connect=lambda connection: connection.context.setdefault("who", next(names)) and None,
    )
    assert [await channel.unary_unary("/t/Tell")(b"") for _ in range(3)] == [b"first"] * 3


async def test_calls_wait_for_a_slow_hook(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Until the hook has answered, no handler runs."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def later(_connection: Any) -> None:
        asked.set()
        await answer.wait()

    await serve(on_connect=later)
    call = channel.unary_unary("/t/Upper")(b"x")
    await asyncio.wait_for(asked.wait(), 30)
    assert not call.done()
    answer.set()
    assert await call == b"X"


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("error", [Status(Code.PERMISSION_DENIED, "not you"), RuntimeError("why")])
async def test_refused_by_the_hook(serve: Serve, channel: grpc.aio.Channel, slow: bool, error: Exception) -> None:  # noqa: FBT001
    """A hook that raises, at once or later, ends every call of the connection with that status."""

    def now(_connection: Any) -> Any:
        async def later() -> None:
            raise error

        if slow:
            return later()
        raise error

    await serve(on_connect=now, on_error=lambda _: Status(Code.PERMISSION_DENIED, "not you"))
    for _ in range(2):
        refused = await failure(channel.unary_unary("/t/Upper")(b"x"))
        assert (refused.code(), refused.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")


async def test_a_refusal_may_leave_some_methods(serve: Serve, channel: grpc.aio.Channel) -> None:
    """Those that it names by path, which judge the caller for themselves; every other call ends with its status."""

    def refused(_connection: Any) -> None:
        raise RefusedBut(Status(Code.PERMISSION_DENIED, "not you"), frozenset({"/t/Upper"}))

    await serve(on_connect=refused)
    assert await channel.unary_unary("/t/Upper")(b"x") == b"X"
    error = await failure(channel.unary_unary("/t/Echo")(b"x"))
    assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")


async def test_certificate_demanded_by_a_method(serve: Serve, channel: grpc.aio.Channel) -> None:
    """A method that demands a client certificate does not run without one."""
    watched = Watched()
    await serve(methods(Secret=Method(watched, bytes, peer_certificate=True)))
    error = await failure(channel.unary_unary("/t/Secret")(b""))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not watched.calls
