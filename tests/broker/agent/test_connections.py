"""Connections of revoked callers are cut, those alone, and only such as are whose who told of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from ringfence.broker.agent.connection_logs import LOGS, told_in
from ringfence.broker.agent.connections import _MOST, Connections, RealKernel, Told, cuts_for
from ringfence.broker.agent.inet_diag import Address, Connection, InetDiag
from ringfence.xds import codec, decision
from ringfence.xds.types import SECRET
from tests import parts
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent
from tests.broker.agent.sds import sds
from tests.broker.agent.test_revocation import revoke
from tests.broker.server.harness import running_server

CALLER, OTHER = "spiffe://example.org/ns/a/sa/w", "spiffe://example.org/ns/a/sa/other"
HERE = ("127.0.0.1", 5)


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


class Fake:
    """A kernel in which *cut* is what cuts, and nothing is open at guarded ports but *open*."""

    def __init__(self, cut: Callable[[Sequence[Told], int], int], open_: Sequence[Connection] = ()) -> None:
        self.cut = cut
        self.open = list(open_)
        self.ended: asyncio.Queue[list[Connection]] = asyncio.Queue()
        self.listed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def end(self, some: Sequence[Connection]) -> int:
        """Remember them."""
        self._loop.call_soon_threadsafe(self.ended.put_nowait, list(some))
        return len(some)

    def open_at(self, ports: Iterable[tuple[int, Address]]) -> list[Connection]:
        """Those there."""
        self._loop.call_soon_threadsafe(self.listed.set)
        return [one for one in self.open if (one.uid, one.local) in set(ports)]


@asynccontextmanager
async def running(revoked: dict[str, object], cut: Callable[[Sequence[Told], int], int]) -> AsyncIterator[Connections]:
    """Connections at work."""
    connections = Connections(lambda: revoked, Fake(cut))
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

    async with running(revoked, cut) as connections, asyncio.timeout(30):
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

    async with running(revoked, cut) as connections, asyncio.timeout(30):
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

    async with running(revoked, refuse) as connections, asyncio.timeout(30):
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

    async with running(revoked, cut) as connections, asyncio.timeout(30):
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


def opened(number: int, uid: int = 1, local: Address = HERE) -> Connection:
    """A connection as the kernel tells it."""
    return Connection(local, ("127.0.0.1", number), uid, bytes(8))


async def test_what_nobody_told_is_ended_at_guarded_ports_and_what_was_told_lives_on() -> None:
    """When somebody is revoked; it may be anybody's. Elsewhere, and of other users, nothing is touched."""
    revoked: dict[str, object] = {}
    kernel = Fake(
        lambda some, _: len(some), [opened(1), opened(2), opened(3, uid=2), opened(4, local=("127.0.0.1", 6))]
    )
    connections = Connections(lambda: revoked, kernel, told_within=0)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(connections.run())
        with connections.guard(1, [HERE]):
            connections.note(1, [told(1, OTHER)])
            revoked[CALLER] = "left"
            connections.look_again()
            assert await kernel.ended.get() == [opened(2)]
            kernel.open.append(opened(5))
            with connections.guard(1, [HERE]):  # another stream of the same proxy
                pass
            assert kernel.ended.empty()
        with connections.guard(1, [HERE]):  # it, or we, were away
            assert await kernel.ended.get() == [opened(2), opened(5)]
        task.cancel()


async def test_a_connection_that_is_told_a_moment_later_is_not_ended() -> None:
    """Proxies tell with a delay."""
    revoked: dict[str, object] = {CALLER: "left"}
    kernel = Fake(lambda some, _: len(some), [opened(1), opened(2), opened(3)])
    connections = Connections(lambda: revoked, kernel, told_within=0.2)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(connections.run())
        with connections.guard(1, [HERE]):
            connections.note(1, [told(1, OTHER)])
            connections.look_again()
            await kernel.listed.wait()
            connections.note(1, [told(2, OTHER)])
            assert await kernel.ended.get() == [opened(3)]
        task.cancel()


class Pair:
    """A connection over loopback, both ends of which are this process's."""

    def __init__(self, stack: ExitStack, server: socket.socket) -> None:
        self.caller = stack.enter_context(socket.create_connection(server.getsockname(), timeout=30))
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
        assert RealKernel().cut([named], os.getuid() + 1) == 0
        assert one.lives()
        assert RealKernel().cut([told(1), named], os.getuid()) == 1
        assert one.is_reset()


async def export(agent: AgentUnderTest, sent: Any) -> None:
    """Tell the agent as a proxy does."""
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        method = channel.unary_unary(
            LOGS,
            request_serializer=ExportLogsServiceRequest.SerializeToString,
            response_deserializer=ExportLogsServiceResponse.FromString,
        )
        await method(sent, timeout=30)


async def test_a_revocation_cuts_the_callers_connection_and_no_other(tmp_path: Path) -> None:
    """A real server, agent and kernel; the proxy's part is played by this process, which owns the connections."""
    with ExitStack() as stack:
        one, other = await asyncio.to_thread(pairs, stack)
        async with running_server(tmp_path) as held:
            await held.create_entry(CALLER, OWN_UID)
            async with running_agent(tmp_path, held) as agent:
                await export(agent, request((*one.names, CALLER), (*other.names, OTHER)))
                await revoke(held, spiffe_ids=[CALLER], reason="left")
                assert await asyncio.to_thread(one.is_reset)
        assert await asyncio.to_thread(other.lives)


async def test_a_proxy_that_does_not_drain_says_so_where_it_asks_for_its_secrets(tmp_path: Path) -> None:
    """By its node, as `run` writes it: at such a port what nobody told is cut too, and what was told lives on."""
    with ExitStack() as stack:
        untold, other = await asyncio.to_thread(pairs, stack)
        node = {"id": "n", "metadata": struct({"ringfence": {"inbound": {"db": other.names[0]}, "cuts": ["db"]}})}
        async with running_server(tmp_path) as held:
            await held.create_entry("spiffe://example.org/ns/shared/sa/db", OWN_UID)
            async with running_agent(tmp_path, held) as agent, secret_stream(agent, node):
                await export(agent, request((*other.names, OTHER)))
                await revoke(held, spiffe_ids=[CALLER], reason="left")
                assert await asyncio.to_thread(untold.is_reset)
                assert await asyncio.to_thread(other.lives)


@asynccontextmanager
async def secret_stream(agent: AgentUnderTest, node: dict[str, Any]) -> AsyncIterator[None]:
    """An Envoy's stream of secrets, its first answer read."""
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        call = sds(channel, "StreamSecrets")(timeout=30)
        await call.write({"type_url": SECRET, "resource_names": ["default"], "node": node})
        await call.read()
        yield
        call.cancel()


def struct(fields: dict[str, Any]) -> Any:
    """As a node's metadata has it."""
    made = Struct()
    made.update(fields)
    return codec.message("google.protobuf.Struct").FromString(made.SerializeToString())


async def test_an_agent_cuts_for_those_in_its_own_network_only() -> None:
    """It sees no other network's connections: their proxies have to drain."""
    if not await asyncio.to_thread(cuts_for, os.getpid()):
        parts.missing("leave to destroy sockets", "run as root on a kernel with INET_DIAG_DESTROY")
    unshare = parts.program("unshare", "util-linux")
    there = await asyncio.create_subprocess_exec(unshare, "--net", "cat", stdin=-1, stdout=-1)
    assert there.stdin is not None
    assert there.stdout is not None
    there.stdin.write(b"x")
    assert await there.stdout.read(1) == b"x", "it is in a network of its own from here on"
    try:
        assert not await asyncio.to_thread(cuts_for, there.pid)
        assert not await asyncio.to_thread(cuts_for, 2**22 + 1)
    finally:
        there.kill()
        await there.wait()
