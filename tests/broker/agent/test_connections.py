"""Connections of revoked callers are cut, those alone, and only such as are whose who told of them."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from ringfence.broker.agent.connection_logs import LOGS, told_in
from ringfence.broker.agent.connections import _MOST, Connections, Told, cut_connections
from ringfence.broker.agent.inet_diag import InetDiag
from ringfence.xds import decision
from tests import parts
from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.agent.test_revocation import revoke
from tests.broker.server.harness import running_server

CALLER, OTHER = "spiffe://example.org/ns/a/sa/w", "spiffe://example.org/ns/a/sa/other"
HERE = ("127.0.0.1", 5)
SOON = 1.0  # seconds on a busy machine; it is milliseconds on an idle one


def request(*told: tuple[str, str, str]) -> Any:
    """What an Envoy sends: its own address, the caller's, and the caller's names."""
    made = ExportLogsServiceRequest()
    records = made.resource_logs.add().scope_logs.add().log_records
    for local, remote, peer in told:
        record = records.add()
        said = {decision.LOCAL_ADDRESS: local, decision.PEER_ADDRESS: remote, decision.PEER: peer}
        for name, value in said.items():
            record.attributes.add(key=name).value.string_value = value
    return made


def told(number: int, peer: str = CALLER) -> Told:
    """A connection."""
    return Told(HERE, ("127.0.0.1", number), peer)


@asynccontextmanager
async def running(revoked: dict[str, object], cut: Callable[[Sequence[Told], int], int]) -> AsyncIterator[Connections]:
    """Connections at work."""
    connections = Connections(lambda: revoked, cut)
    task = asyncio.create_task(connections.run())
    yield connections
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_those_of_whoever_is_revoked_are_cut_when_that_is_heard() -> None:
    """By the user whose process told; what is told later of somebody revoked is cut then."""
    revoked: dict[str, object] = {}
    heard: asyncio.Queue[tuple[list[Told], int]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def cut(some: Sequence[Told], uid: int) -> int:
        loop.call_soon_threadsafe(heard.put_nowait, (list(some), uid))
        return len(some)

    async with running(revoked, cut) as connections, asyncio.timeout(5):
        connections.note(1, [told(1), told(2, OTHER), told(3)])
        connections.note(2, [told(4)])
        revoked[CALLER] = "left"
        connections.look_again()
        assert {uid: some for some, uid in [await heard.get(), await heard.get()]} == {
            1: [told(1), told(3)],
            2: [told(4)],
        }
        connections.note(1, [told(5)])
        assert await heard.get() == ([told(5)], 1)
        revoked[OTHER] = "left too"
        connections.look_again()
        assert await heard.get() == ([told(2, OTHER)], 1), "what was cut is remembered no more"


async def test_a_port_that_is_used_again_is_the_newest_callers() -> None:
    """A connection of before is not taken for that of now."""
    revoked: dict[str, object] = {CALLER: "left"}
    heard: asyncio.Queue[list[Told]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def cut(some: Sequence[Told], _: int) -> int:
        loop.call_soon_threadsafe(heard.put_nowait, list(some))
        return 0

    async with running(revoked, cut) as connections, asyncio.timeout(5):
        connections.note(1, [told(1), told(1, OTHER), told(2)])
        assert await heard.get() == [told(2)]


async def test_a_kernel_that_refuses_ends_nothing_else() -> None:
    """It is said, and the next time it is tried again."""
    revoked: dict[str, object] = {CALLER: "left"}
    asked: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def refuse(some: Sequence[Told], _: int) -> int:
        loop.call_soon_threadsafe(asked.put_nowait, len(some))
        raise PermissionError(1, "Operation not permitted")

    async with running(revoked, refuse) as connections, asyncio.timeout(5):
        for number in (1, 2):
            connections.note(1, [told(number)])
            assert await asked.get() == 1


async def test_one_user_remembers_no_end_of_them_and_pushes_out_no_others() -> None:
    """The oldest of its own are forgotten: those the drain of their port ends."""
    revoked: dict[str, object] = {}
    heard: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def cut(some: Sequence[Told], uid: int) -> int:
        loop.call_soon_threadsafe(heard.put_nowait, (uid, len(some)))
        return 0

    async with running(revoked, cut) as connections, asyncio.timeout(5):
        connections.note(2, [told(1)])
        connections.note(1, (told(number) for number in range(1, _MOST + 100)))
        revoked[CALLER] = "left"
        connections.look_again()
        assert {await heard.get(), await heard.get()} == {(1, _MOST), (2, 1)}


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))))
def test_what_tells_no_connection_is_passed_over(some: list[tuple[str, str, str]]) -> None:
    """Whatever a process writes there."""
    assert list(told_in(request(*some))) == []
    good = ("[::1]:7", "127.0.0.1:8", CALLER)
    assert list(told_in(request(*some, good))) == [Told(("::1", 7), ("127.0.0.1", 8), CALLER)]


class Pair:
    """A connection over loopback, both ends of which are this process's."""

    def __init__(self, stack: ExitStack, server: socket.socket) -> None:
        self.caller = stack.enter_context(socket.create_connection(server.getsockname(), timeout=5))
        self.accepted = stack.enter_context(server.accept()[0])

    @property
    def names(self) -> tuple[str, str]:
        """The server's address and the caller's, as a proxy writes them."""
        return tuple(f"{host}:{port}" for host, port in (self.accepted.getsockname(), self.accepted.getpeername()))  # type: ignore[return-value]

    def is_reset(self) -> bool:
        """Wait until it is."""
        try:
            return self.caller.recv(1) == b""
        except ConnectionResetError:
            return True

    def lives(self) -> bool:
        """Whether something sent still arrives."""
        self.caller.sendall(b"x")
        return self.accepted.recv(1) == b"x"


def pairs(stack: ExitStack) -> tuple[Pair, Pair]:
    """Two connections to one listener, where the kernel lets us cut one."""
    with InetDiag() as kernel:
        if why := kernel.why_not():
            parts.missing("leave to destroy sockets", f"run as root on a kernel with INET_DIAG_DESTROY: {why}")
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return Pair(stack, server), Pair(stack, server)


def test_a_connection_of_another_user_is_not_cut() -> None:
    """Else any process could have any connection of the host closed by naming it."""
    with ExitStack() as stack:
        one, _ = pairs(stack)
        named = Told(one.accepted.getsockname(), one.accepted.getpeername(), CALLER)
        assert cut_connections([named], os.getuid() + 1) == 0
        assert one.lives()
        assert cut_connections([told(1), named], os.getuid()) == 1
        assert one.is_reset()


async def test_a_revocation_cuts_the_callers_connection_and_no_other(tmp_path: Path) -> None:
    """A real server, agent and kernel; the proxy's part is played by this process, which owns the connections."""
    with ExitStack() as stack:
        one, other = await asyncio.to_thread(pairs, stack)
        sent = request((*one.names, CALLER), (*other.names, OTHER))
        async with running_server(tmp_path) as held:
            await held.create_entry(CALLER, OWN_UID)
            async with running_agent(tmp_path, held) as agent:
                async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
                    export = channel.unary_unary(
                        LOGS,
                        request_serializer=ExportLogsServiceRequest.SerializeToString,
                        response_deserializer=ExportLogsServiceResponse.FromString,
                    )
                    await export(sent, timeout=10)
                began = time.monotonic()
                await revoke(held, spiffe_ids=[CALLER], reason="left")
                assert await asyncio.to_thread(one.is_reset)
                took = time.monotonic() - began
        assert await asyncio.to_thread(other.lives)
    assert took < SOON
