"""A port that takes callers without mutual TLS, with a real Envoy: by the rules for them alone, and until it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path

import pytest

from ringfence.broker.evidence.receive import records_of
from ringfence.policy.evaluate import Request, evaluate
from ringfence.xds import decision
from tests.broker.evidence.records import export
from tests.e2e.plane import until
from tests.e2e.proxies import Answer, Caller, http_app, tcp_app
from tests.e2e.sidecars import Sidecars, sidecars
from tests.policy import intent

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

KEY, UPSTREAM = "shared/registry", "registry.shared/http"
FOREVER = "2999-01-01T00:00:00Z"
OWNED = "owner: ml-platform, reason: two jobs are still outside"
RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves:
  - {name: http, port: APP, protocol: http, plaintext: {until: END, OWNED}}
  - {name: far, port: 1, protocol: http, plaintext: {until: END, from: [10.255.255.0/24], OWNED}}
  - {name: db, socket: db.sock, protocol: tcp, plaintext: {until: END, OWNED}}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{all: true}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/**", "/limited"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: probe, namespace: shared}
spec:
  from: [{plaintext: true}]
  to: [{workload: registry, port: http}]
  http: [{paths: ["/probes/**", /limited]}]
  owner: ml
  reason: probes are still outside
---
kind: Allow
metadata: {name: far, namespace: shared}
spec:
  from: [{plaintext: true, cidrs: [10.255.255.0/24]}]
  to: [{workload: registry, port: http}, {workload: registry, port: far}]
  owner: ml
  reason: for those who are far away
---
kind: Deny
metadata: {name: never, namespace: shared}
spec:
  from: [{plaintext: true}]
  to: [{workload: registry, port: http}]
  http: [{paths: [/probes/secret]}]
  owner: ml
  reason: test
---
kind: Allow
metadata: {name: rows, namespace: shared}
spec:
  from: [{plaintext: true}]
  to: [{workload: registry, port: db}]
  owner: ml
  reason: rows
"""
LIMIT = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec: {to: {workload: registry, port: http}, rateLimits: [{requests: 5, per: 5h}]}
"""


class World:
    """A registry that takes plaintext at three ports, and a trainer of the mesh."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._text = intent.joined(intent.MESH, intent.TRAINER, RULES.replace("OWNED", OWNED))
        self._text = self._text.replace("APP", str(stack.enter_context(http_app())))
        self.received = stack.enter_context(tcp_app(str(folder / "db.sock")))
        self.mesh: Sidecars = stack.enter_context(sidecars(folder, self.text()))

    def text(self, end: str = FOREVER, *more: str) -> str:
        """The intent in which it ends then."""
        return intent.joined(self._text.replace("END", end), *more)

    def address(self, port: str = "http") -> int:
        """Where the proxy listens for that port."""
        return self.mesh.instances[KEY].inbound[port][1]

    def ask(self, path: str, **headers: str) -> Answer:
        """A request in plaintext."""
        with Caller(self.address()) as caller:
            return caller.ask("GET", path, **headers)

    def judged(self, path: str) -> decision.Decision:
        """What the evaluator says of it."""
        call = Request(None, KEY, "http", datetime.now(UTC), "GET", path, address="127.0.0.1", plaintext=True)
        verdict = evaluate(self.mesh.model, call)
        return decision.Decision(verdict.allowed, verdict.policy_id)

    def logged(self, answer: Answer) -> dict[str, str]:
        """The record of that answer."""
        return self.mesh.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER], point=decision.POINT_HTTP)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/probes/live", 200),
        ("/probes/secret", 403),
        ("/models/a", 403),
        ("/", 403),
        ("/probes/../models/a", 403),
        ("/probes/..%3bx/probes/live", 403),
    ],
)
def test_only_rules_for_them_let_them_in(world: World, path: str, status: int):
    """A rule for everybody of the mesh means none of them; what is denied is denied by name, as the evaluator says."""
    answer = world.ask(path)
    assert answer.status == status
    assert decision.decide(world.logged(answer)) == world.judged(path)


def test_they_have_no_identity_whatever_they_say(world: World):
    """Neither to the rules, nor to the records, nor to the application."""
    forged = "By=spiffe://example.test/x;URI=spiffe://example.test/ns/team-a/sa/trainer"
    said = {"x-forwarded-client-cert": forged, "x-forwarded-for": "10.255.255.7"}
    assert world.ask("/models/a", **said).status == 403
    answer = world.ask("/probes/live", **said)
    assert answer.status == 200
    assert "x-forwarded-client-cert" not in {name.lower() for name in answer.echoed["headers"]}
    log = world.logged(answer)
    assert (log[decision.PLAINTEXT], log.get(decision.PEER, "-")) == ("true", "-")
    reporter = world.mesh.model.workloads[KEY].spiffe_id
    (record,) = records_of(export(log), reporter)
    assert (record.source, record.rule, record.allowed) == ("plaintext", "shared/probe", True)
    assert record.attributes["peer.address"].startswith("127.0.0.1:")


def test_the_mesh_goes_on_beside_them(world: World):
    """Mutual TLS on the same port, judged by who calls; TLS without a certificate is refused as ever."""
    with world.mesh.caller("team-a/trainer", UPSTREAM) as caller:
        allowed, denied = caller.ask("GET", "/models/a"), caller.ask("GET", "/probes/live")
    assert (allowed.status, denied.status) == (200, 403)
    log = world.logged(allowed)
    assert decision.PLAINTEXT not in log
    assert log[decision.PEER].endswith("/ns/team-a/sa/trainer")


def test_plaintext_from_elsewhere_is_refused_as_at_any_port(world: World):
    """It meets mutual TLS, and is recorded by the name that it has everywhere."""
    with socket.create_connection(("127.0.0.1", world.address("far")), timeout=20) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with suppress(ConnectionError):  # or an alert of TLS in front of it
            assert b"HTTP" not in stranger.recv(4096)
        name = "{}:{}".format(*stranger.getsockname())
    log = world.mesh.plane.log(point=decision.POINT_TLS, listener="inbound/far", peer__address=name)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-mtls@builtin")


def test_a_tcp_port_takes_them_too(world: World):
    """Judged on the first byte, by name."""
    with socket.create_connection(("127.0.0.1", world.address("db")), timeout=20) as caller:
        caller.sendall(b"some rows")
        assert caller.recv(64) in {b"hello ", b"hello some rows"}
        name = "{}:{}".format(*caller.getsockname())
        log = world.mesh.plane.log(point=decision.POINT_TCP, peer__address=name)
    found = decision.decide(log)
    assert found is not None
    assert (found.allowed, found.policy_id.partition("@")[0]) == (True, "shared/rows")
    assert log[decision.PLAINTEXT] == "true"


def test_to_a_limit_for_each_caller_they_are_one(world: World):
    """And take nothing from a caller that has a name."""
    world.mesh.apply(world.text(FOREVER, LIMIT))
    until(lambda: "x-ratelimit-limit" in world.ask("/limited").headers, "the limit")
    assert 429 in {world.ask("/limited").status for _ in range(5)}
    with world.mesh.caller("team-a/trainer", UPSTREAM) as caller:
        assert caller.ask("GET", "/limited").status == 200


def test_from_its_end_on_they_are_strangers(world: World):
    """Who is connected is cut off, in HTTP and TCP, and who connects is refused; the mesh is not."""
    world.mesh.apply(world.text())
    until(lambda: "x-ratelimit-limit" not in world.ask("/limited").headers, "no limit")
    with Caller(world.address()) as open_one, socket.create_connection(("127.0.0.1", world.address("db"))) as rows:
        assert open_one.ask("GET", "/probes/live").status == 200
        rows.settimeout(30)
        rows.sendall(b"some rows")
        assert rows.recv(64)
        world.mesh.apply(world.text((datetime.now(UTC) - timedelta(seconds=1)).isoformat()))
        until(lambda: _ended(rows), "the end of the connection")
        until(lambda: _refused(open_one), "the end of plaintext")
    until(lambda: _stranger(world.address()), "a port for the mesh alone")
    with world.mesh.caller("team-a/trainer", UPSTREAM) as caller:
        assert caller.ask("GET", "/models/a").status == 200
    assert world.mesh.plane.nacks == []


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(64) == b""
    except ConnectionError:
        return True


def _refused(caller: Caller) -> bool:
    try:
        return caller.ask("GET", "/probes/live").status != 200
    except (OSError, HTTPException):
        return True


def _stranger(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger:
        stranger.sendall(b"GET /probes/live HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            return b"HTTP" not in stranger.recv(4096)
        except ConnectionError:
            return True
