"""The daemon: what keeps it from starting, what it shows, and how it ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker import http
from ringfence.broker.address import Address
from ringfence.broker.config import ServerConfig
from ringfence.broker.server import daemon, parts
from ringfence.broker.server.admin_api import only_own_user
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.proto.lane import Peer
from ringfence.proto.status import Code, Status
from tests.broker.server.harness import TRUST_DOMAIN, running_server
from tests.broker.server.node import Node


async def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of one page."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def start(tmp_path: Path, **fields: object) -> RingfenceError:
    """Why a server with that configuration does not start."""
    config = ServerConfig(
        **{"trust_domain": TRUST_DOMAIN, "data_dir": tmp_path / "server", "listen": Address("127.0.0.1", 0)} | fields  # type: ignore[arg-type]
    )
    with pytest.raises(RingfenceError) as caught:
        async with daemon.running_server(config):
            pass
    return caught.value


async def test_it_shows_its_pages(tmp_path: Path) -> None:
    """/live, /ready, /metrics and /version answer; the rest does not."""
    async with running_server(tmp_path) as server:
        await server.create_entry("spiffe://example.org/a", "unix:uid:1")
        assert await get(server.http, "/live") == (200, "alive\n")
        assert await get(server.http, "/ready?verbose") == (200, "ready\n")
        assert (await get(server.http, "/version"))[0] == 200
        status, metrics = await get(server.http, "/metrics")
        assert status == 200
        assert "ringfence_up 1.0" in metrics
        assert "ringfence_entries 1.0" in metrics
        assert 'ringfence_svid_issued_total{result="ok",type="x509"}' in metrics
        assert 'ringfence_xds_push_total{result="nack"} 0.0' in metrics
        handled = 'ringfence_grpc_server_handled_total{code="OK",method="CreateEntries"'
        assert handled in metrics
        assert (await get(server.http, "/nothing"))[0] == 404
        assert (await get(server.http, "/live", "POST"))[0] == 405
        assert await get(server.http, "/live", "HEAD") == (200, "")


async def test_it_is_alive_and_not_ready_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes see 503 with the reason until the state is in memory, and no stream is taken before."""
    loading, go_on = asyncio.Event(), asyncio.Event()
    load = parts.load

    async def slow(*args: object) -> object:
        loading.set()
        await go_on.wait()
        return await load(*args)  # type: ignore[arg-type]

    ports: list[int] = []
    serve = http.serve_pages

    async def remembered(*args: object) -> asyncio.Server:
        server = await serve(*args)  # type: ignore[arg-type]
        ports.append(server.sockets[0].getsockname()[1])
        return server

    monkeypatch.setattr(daemon, "load", slow)
    monkeypatch.setattr(daemon, "serve_pages", remembered)
    running = running_server(tmp_path)
    entering = asyncio.create_task(running.__aenter__())
    await loading.wait()
    address = f"127.0.0.1:{ports[0]}"
    assert await get(address, "/live") == (200, "alive\n")
    assert await get(address, "/ready") == (503, "loading state\n")
    assert not (tmp_path / "server" / "admin.sock").exists()
    go_on.set()
    await entering
    assert (await get(address, "/ready"))[0] == 200
    await running.__aexit__(None, None, None)


async def test_one_server_a_data_directory(tmp_path: Path) -> None:
    """The second is told which process holds it, and the first goes on."""
    async with running_server(tmp_path) as server:
        error = await start(tmp_path)
        assert error.kind is Kind.CONFLICT
        assert str(os.getpid()) in error.detail
        assert await server.token()


async def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """After the cause is gone the same folder serves."""
    await start(tmp_path, intent=tmp_path / "missing")
    async with running_server(tmp_path) as server:
        assert await server.token()


@pytest.mark.parametrize("flag", ["listen", "http_listen", "otlp_listen"])
async def test_a_taken_port_is_said_with_its_flag(tmp_path: Path, flag: str) -> None:
    """What is taken, and which flag to change."""
    other = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    error = await start(tmp_path, **{flag: Address("127.0.0.1", port)})
    assert error.where == f"127.0.0.1:{port}"
    assert f"--{flag.replace('_', '-')}" in error.hint
    other.close()
    await other.wait_closed()


async def test_a_folder_shared_with_others_is_not_taken(tmp_path: Path) -> None:
    """The temporary folder itself as --data-dir would be locked for everybody else."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    error = await start(tmp_path, data_dir=shared)
    assert "others may use" in error.detail
    assert shared.stat().st_mode & 0o777 == 0o777


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """In words."""
    (tmp_path / "file").write_text("")
    assert (await start(tmp_path, data_dir=tmp_path / "file")).where == str(tmp_path / "file")


async def test_state_is_for_the_owner_only(tmp_path: Path) -> None:
    """Folder 0700, socket 0600; the bundle may be read by who gets into the folder."""
    async with running_server(tmp_path) as server:
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
        assert server.admin_socket.stat().st_mode & 0o777 == 0o600


async def test_broken_intent_keeps_a_server_from_starting(tmp_path: Path) -> None:
    """It names the file and line: a server without its intent would deny everything."""
    (tmp_path / "intent").mkdir()
    (tmp_path / "intent" / "a.yaml").write_text("kind: Nonsense\n")
    error = await start(tmp_path, intent=tmp_path / "intent")
    assert error.kind is Kind.INVALID
    assert error.where.startswith(f"{tmp_path}/intent/a.yaml:1")


@pytest.mark.parametrize(("uid", "allowed"), [(os.geteuid(), True), (0, True), (12345, False), (None, False)])
def test_only_its_own_user_and_root_speak_to_the_admin_socket(uid: int | None, *, allowed: bool) -> None:
    """By the peer credentials of the kernel."""

    class Connection:
        peer = Peer("unix:x", uid=uid)

    if allowed:
        only_own_user(Connection())  # type: ignore[arg-type]
    else:
        with pytest.raises(Status) as caught:
            only_own_user(Connection())  # type: ignore[arg-type]
        assert caught.value.code is Code.PERMISSION_DENIED


async def test_the_admin_api_is_not_on_the_network(tmp_path: Path) -> None:
    """The one address of agents and proxies knows no admin method."""
    async with running_server(tmp_path) as server:
        node = Node(server.address, server.bundle_pem)
        await node.attest(await server.token())
        async with grpc.aio.secure_channel(
            server.address, node._credentials(), options=(("grpc.ssl_target_name_override", "ringfence-server"),)
        ) as channel:
            call: Any = channel.unary_unary("/ringfence.admin.v1.Server/GenerateToken", bytes, bytes)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(admin.GenerateTokenRequest().SerializeToString())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_otlp_address_serves_evidence_only(tmp_path: Path) -> None:
    """Nobody attests there."""
    async with running_server(tmp_path, otlp_listen=Address("127.0.0.1", 0)) as server:
        assert server.running is not None
        assert server.running.otlp is not None
        node = Node(str(server.running.otlp), server.bundle_pem)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.attest(await server.token())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
