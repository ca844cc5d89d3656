"""What ports speak, each through two real Envoys: it arrives as it was sent, and the rules hold."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import psycopg
import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import http_app, stat, tcp_app
from tests.e2e.rpc import TIMES, rpc_app
from tests.e2e.sidecars import Sidecars, sidecars
from tests.e2e.speakers import CHUNK, PATIENCE, ask_h2, h2_app, web_app
from tests.policy import intent
from tests.postgres import cluster

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER = "team-a/trainer"
IDENTITY = "spiffe://example.test/ns/team-a/sa/trainer"
RULES = """
kind: Workload
metadata: {name: server, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves:
  - {name: web, port: WEB_PORT, protocol: http}
  - {name: h2, port: H2_PORT, protocol: http2}
  - {name: rpc, port: RPC_PORT, protocol: grpc}
  - {name: raw, socket: raw.sock, protocol: tcp}
  - {name: sql, socket: .s.PGSQL.5432, protocol: postgres}
---
kind: Allow
metadata: {name: connections, namespace: shared}
spec:
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: server, port: raw}, {workload: server, port: sql}]
  owner: ml
  reason: test
---
kind: Allow
metadata: {name: requests, namespace: shared}
spec:
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: server, port: web}, {workload: server, port: h2}]
  http: [{methods: [GET], paths: [/, /a, /b, /tokens, /chat, "/download/*"]}, {methods: [PUT], paths: [/upload]}]
  owner: ml
  reason: test
---
kind: Allow
metadata: {name: calls, namespace: shared}
spec:
  from: [{workload: trainer, namespace: team-a}]
  to: [{workload: server, port: rpc}]
  grpc: [{services: [pkg.Models], methods: [Get, Watch, Chat]}]
  owner: ml
  reason: test
"""
MORE = """---
kind: Traffic
metadata: {name: web, namespace: shared}
spec: {to: {workload: server, port: web}, idleTimeout: 500ms}
"""


class World:
    """A trainer and a server that speaks everything."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        web, self.go_on = stack.enter_context(web_app())
        self.database = stack.enter_context(cluster())
        stack.enter_context(tcp_app(str(folder / "raw.sock")))
        (folder / ".s.PGSQL.5432").symlink_to(self.database.socket_dir / ".s.PGSQL.5432")
        ports = {"WEB_PORT": web, "H2_PORT": stack.enter_context(h2_app()), "RPC_PORT": stack.enter_context(rpc_app())}
        rules = RULES
        for name, port in ports.items():
            rules = rules.replace(name, str(port))
        self.text = intent.joined(intent.MESH, intent.TRAINER, rules)
        self.mesh: Sidecars = stack.enter_context(sidecars(folder, self.text))

    def connection(self, port: str) -> socket.socket:
        """To the trainer's own proxy."""
        return self.mesh.connection(TRAINER, f"server.shared/{port}")

    def channel(self) -> grpc.Channel:
        """The same for gRPC."""
        return grpc.insecure_channel(f"127.0.0.1:{self.mesh.port(TRAINER, 'server.shared/rpc')}")

    def denied(self, **wanted: str) -> None:
        """Wait for the record of a denial by default with these attributes."""
        found = decision.decide(self.mesh.plane.log(point=decision.POINT_HTTP, **wanted))
        assert found == decision.Decision(allowed=False, policy_id="default-deny@builtin")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


def read_until(raw: socket.socket, end: bytes) -> bytes:
    """Everything up to *end*, which must come."""
    seen = b""
    while not seen.endswith(end):
        data = raw.recv(1)
        assert data, seen
        seen += data
    return seen


def closed(raw: socket.socket) -> bool:
    """Whether the other side ends it; a time-out is an error."""
    try:
        while raw.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


def test_http_1_1_is_kept_alive_and_judged_by_request(world: World):
    """Two requests on one connection, one of them allowed."""
    with world.mesh.caller(TRAINER, "server.shared/web") as caller:
        assert caller.ask("GET", "/").body == b"ok"
        assert caller.ask("DELETE", "/").status == 403
        assert caller.ask("GET", "/").status == 200
    world.denied(method="DELETE", listener="inbound/web")


def test_http_2_is_spoken_from_end_to_end(world: World):
    """Streams of one connection, each judged by itself, to an application that speaks nothing else."""
    answers = ask_h2(world.mesh.port(TRAINER, "server.shared/h2"), ["/a", "/secret", "/b"])
    assert (answers["/a"], answers["/b"]) == ((200, b"/a"), (200, b"/b"))
    assert answers["/secret"][0] == 403
    world.denied(path="/secret", listener="inbound/h2")


def test_a_grpc_call_of_every_kind_goes_through(world: World):
    """Unary, a stream of answers, and a conversation in which each answer comes before the next question."""
    with world.channel() as channel:
        unary: Any = channel.unary_unary("/pkg.Models/Get")
        assert unary(b"ping", timeout=PATIENCE) == b"ping"
        watch: Any = channel.unary_stream("/pkg.Models/Watch")
        assert list(watch(b"tick", timeout=PATIENCE)) == [b"tick"] * TIMES
        chat: Any = channel.stream_stream("/pkg.Models/Chat")
        heard, answers = [Event(), Event()], []

        def questions() -> Iterator[bytes]:
            for number, event in enumerate(heard):
                yield b"%d" % number
                assert event.wait(PATIENCE)

        for answer in chat(questions(), timeout=PATIENCE):
            answers.append(answer)
            heard[len(answers) - 1].set()
    assert answers == [b"0", b"1"]


@pytest.mark.parametrize("method", ["/pkg.Models/Delete", "/pkg.Other/Get", "/pkg.Models/Get/More"])
def test_grpc_is_judged_by_method_and_refused_in_its_own_words(world: World, method: str):
    """PERMISSION_DENIED for whatever kind of call, and the decision names the method."""
    with world.channel() as channel:
        unary: Any = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as of_unary:
            unary(b"", timeout=PATIENCE)
        stream: Any = channel.unary_stream(method)
        with pytest.raises(grpc.RpcError) as of_stream:
            list(stream(b"", timeout=PATIENCE))
    assert {of_unary.value.code(), of_stream.value.code()} == {grpc.StatusCode.PERMISSION_DENIED}
    world.denied(path=method, listener="inbound/rpc")


def test_the_first_token_arrives_while_the_answer_is_open(world: World):
    """Nothing is held back: the second event is made only after the caller has read the first."""
    world.go_on.clear()
    with world.connection("web") as raw:
        raw.sendall(b"GET /tokens HTTP/1.1\r\nhost: server\r\n\r\n")
        head = read_until(raw, b"data: first\n\n")
        world.go_on.set()
        rest = read_until(raw, b"0\r\n\r\n")
    assert b"text/event-stream" in head
    assert b"data: second" in rest


def test_an_answer_is_cut_for_silence_only_where_traffic_says_so(world: World):
    """Without `idleTimeout` no proxy ends a silent stream; with it the caller's own does."""
    world.go_on.clear()
    world.mesh.apply(world.text + MORE)
    try:

        def cut() -> bool:
            with world.connection("web") as raw:
                raw.sendall(b"GET /tokens HTTP/1.1\r\nhost: server\r\n\r\n")
                read_until(raw, b"data: first\n\n")
                raw.settimeout(2)
                try:
                    return closed(raw)
                except TimeoutError:
                    return False

        until(cut, "the idle timeout")
    finally:
        world.mesh.apply(world.text)


@pytest.mark.parametrize("size", [64])
def test_big_bodies_arrive_whole_and_are_not_kept(world: World, size: int):
    """64 MiB each way while neither Envoy's memory grows by a fraction of it."""
    chunks = size * 1024 * 1024 // len(CHUNK)
    expected = hashlib.sha256(CHUNK * chunks).hexdigest().encode()
    with world.connection("web") as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n")
        read_until(raw, b"ok")
        before = _memory(world)
        raw.sendall(b"PUT /upload HTTP/1.1\r\nhost: server\r\ncontent-length: %d\r\n\r\n" % (chunks * len(CHUNK)))
        for _ in range(chunks):
            raw.sendall(CHUNK)
        assert read_until(raw, expected)
        raw.sendall(b"GET /download/%d HTTP/1.1\r\nhost: server\r\n\r\n" % chunks)
        read_until(raw, b"\r\n\r\n")
        digest, left = hashlib.sha256(), chunks * len(CHUNK)
        while left:
            data = raw.recv(min(left, 65536))
            digest.update(data)
            left -= len(data)
        grown = [after - then for after, then in zip(_memory(world), before, strict=True)]
    assert digest.hexdigest().encode() == expected
    assert max(grown) < 16 * 1024 * 1024, grown


def _memory(world: World) -> list[int]:
    return [stat(world.mesh.admin(key), "server.memory_allocated") or 0 for key in world.mesh.instances]


def _websocket(raw: socket.socket, path: str = "/chat") -> bytes:
    """Ask for a WebSocket (RFC 6455 section 1.3); the head of the answer."""
    raw.sendall(
        b"GET %s HTTP/1.1\r\nhost: server\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % path.encode()
    )
    return read_until(raw, b"\r\n\r\n")


def test_a_websocket_goes_through_and_is_judged_as_the_get_that_it_begins_with(world: World):
    """The handshake and frames are passed as they are; where the path is not allowed there is no upgrade."""
    with world.connection("web") as raw:
        head = _websocket(raw)
        assert head.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455's own example
        raw.sendall(b"\x81\x85abcd\x09\x07\x0f\x08\x0e")
        assert raw.recv(64) == b"\x81\x85abcd\x09\x07\x0f\x08\x0e"
    with world.connection("web") as raw:
        assert _websocket(raw, "/secret").startswith(b"HTTP/1.1 403")
    world.denied(path="/secret", listener="inbound/web")


def test_a_revocation_closes_an_open_websocket(world: World):
    """Nothing judges it again, so that its connection ends."""
    with world.connection("web") as raw:
        assert _websocket(raw).startswith(b"HTTP/1.1 101")
        try:
            world.mesh.apply(world.text, Revocations.of((), [RevokedIdentity(IDENTITY, 5, "stolen", "test")]))
            assert closed(raw)
        finally:
            world.mesh.apply(world.text)

    def allowed() -> bool:
        with world.mesh.caller(TRAINER, "server.shared/web") as caller:
            return caller.ask("GET", "/").status == 200

    until(allowed, "the caller to be let in again")


def test_tcp_goes_through(world: World):
    """Bytes both ways."""
    with world.connection("raw") as raw:
        raw.sendall(b"ping")
        read_until(raw, b"ping")


def test_postgresql_goes_through(world: World):
    """A real server and a real driver: a query, and rows enough to fill every buffer on the way."""
    port = world.mesh.port(TRAINER, "server.shared/sql")
    with psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", sslmode="disable"
    ) as database:
        rows = database.execute("select repeat('x', 1000) from generate_series(1, 5000)").fetchall()
    assert len(rows) == 5000


@pytest.mark.parametrize("port", ["web", "h2", "rpc", "raw", "sql"])
def test_a_client_of_tls_1_2_is_refused_at_every_port(world: World, port: str):
    """1.3 only, though its certificate is good."""
    context = world.mesh.domain.issue(world.mesh.model.workloads[TRAINER].spiffe_id).client(world.mesh.folder)
    at = world.mesh.instances["shared/server"].inbound[port]
    with socket.create_connection(at, timeout=PATIENCE) as raw, context.wrap_socket(raw) as good:
        assert good.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(at, timeout=PATIENCE) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(raw) as connection,
    ):
        connection.recv(1)
    assert world.mesh.plane.nacks == []


def test_a_server_of_tls_1_2_is_not_spoken_to(world: World):
    """Nor is it on the way out, though the server proves the right identity."""
    identity = world.mesh.domain.issue(world.mesh.model.workloads["shared/server"].spiffe_id)
    (world.mesh.folder / "old.pem").write_bytes(identity.chain + identity.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.mesh.folder / "old.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with http_app(context) as old:
        world.mesh.apply(world.text, at={("shared/server", "web"): old})
        try:
            log = until(lambda: _failure(world), "a failed call")
        finally:
            world.mesh.apply(world.text)
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in log or "UNSUPPORTED_PROTOCOL" in log, log


def _failure(world: World) -> str:
    with world.mesh.caller(TRAINER, "server.shared/web") as caller:
        answer = caller.ask("GET", "/")
    if answer.status != 503:
        return ""
    trace = answer.headers[decision.RESPONSE_HEADER]
    return world.mesh.plane.log(trace_id=trace, point=decision.POINT_OUTBOUND)[decision.UPSTREAM_FAILURE]
