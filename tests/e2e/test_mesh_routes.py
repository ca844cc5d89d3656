"""Where requests go, with real Envoys: shares, copies and conditions, and the rules of wherever they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

import pytest

from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import Answer, served
from tests.e2e.sidecars import Sidecars, sidecars
from tests.policy import intent

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

UPSTREAM = "registry.shared/http"
WORKLOAD = """
kind: Workload
metadata: {{name: {name}, namespace: shared}}
spec: {{match: [{{unix.uid: {uid}}}], serves: [{{name: http, port: {port}, protocol: http}}]}}
"""
ALLOW = """
kind: Allow
metadata: {{name: {name}, namespace: shared}}
spec:
  from: [{{workload: trainer, namespace: team-a}}]
  to: [{{workload: {name}, port: http}}]
  owner: ml
  reason: test
"""
TRAFFIC = """
kind: Traffic
metadata: {name: registry, namespace: shared}
spec:
  to: {workload: registry, port: http}
  routes:
    - match: [{headers: [{name: x-canary, exact: "1"}]}]
      split: [{workload: canary, weight: 1}]
    - match: [{methods: [GET], paths: ["/canary/**"]}, {headers: [{name: x-to, prefix: can}]}]
      split: [{workload: canary, weight: 1}]
    - match: [{paths: ["/split"]}]
      split: [{workload: registry, weight: 3}, {workload: canary, weight: 1}, {workload: closed, weight: 0}]
    - match: [{paths: ["/closed"]}]
      split: [{workload: closed, weight: 1}]
    - match: [{paths: ["/copied"]}]
      mirror: {workload: shadow, percent: 100}
    - match: [{paths: ["/copied-to-closed"]}]
      mirror: {workload: closed, percent: 100}
"""
SERVERS = ("registry", "canary", "shadow", "closed")
ALLOWED = SERVERS[:3]


@dataclass
class App:
    """An application that says its name, and what it was asked."""

    name: str
    port: int = 0
    asked: list[str] = field(default_factory=list)


class World:
    """A trainer, the registry with its canary and shadow, and one that nobody may call."""

    def __init__(self, stack: ExitStack, folder: Any) -> None:
        self.apps = {name: _app(stack, name) for name in SERVERS}
        workloads = [
            WORKLOAD.format(name=name, uid=2000 + i, port=self.apps[name].port) for i, name in enumerate(SERVERS)
        ]
        self.whole = intent.joined(intent.MESH, intent.TRAINER, *workloads, *(ALLOW.format(name=n) for n in ALLOWED))
        self.mesh: Sidecars = stack.enter_context(sidecars(folder, f"{self.whole}---\n{TRAFFIC}"))

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request of the trainer to the registry."""
        with self.mesh.caller("team-a/trainer", UPSTREAM) as caller:
            return caller.ask(method, path, **headers)


def _app(stack: ExitStack, name: str) -> App:
    app, lock = App(name), Lock()

    class Named(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                app.asked.append(self.path)
            self.send_response(500 if name == "shadow" else 200)
            self.send_header("content-length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        do_GET = do_POST = answer  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: Any) -> None:
            """Keep the terminal clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Named)
    server.daemon_threads = True
    stack.enter_context(served(server))
    app.port = int(server.server_address[1])
    return app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


def test_shares_are_those_of_the_document(world: World):
    """A quarter of 1,000 requests, give or take 5.5 standard deviations of 13.7: one run in 25 million is outside."""
    with world.mesh.caller("team-a/trainer", UPSTREAM) as caller:
        answered = [caller.ask("GET", "/split").body for _ in range(1000)]
    canary = answered.count(b"canary")
    assert set(answered) == {b"canary", b"registry"}
    assert 175 <= canary <= 325
    assert world.mesh.plane.nacks == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "name"),
    [
        ("GET", "/", {}, "registry"),
        ("GET", "/", {"x-canary": "1"}, "canary"),
        ("GET", "/", {"X-Canary": "1"}, "canary"),
        ("GET", "/", {"x-canary": "2"}, "registry"),
        ("GET", "/", {"x-to": "canary"}, "canary"),
        ("GET", "/", {"x-to": "a canary"}, "registry"),
        ("GET", "/canary/a?b=c", {}, "canary"),
        ("POST", "/canary/a", {}, "registry"),
        ("GET", "/registry/../canary", {}, "canary"),
        ("GET", "/canary/../registry", {}, "registry"),
    ],
)
def test_the_first_route_that_matches_is_taken(
    world: World, method: str, path: str, headers: dict[str, str], name: str
):
    """By headers, by method and canonical path; what no route takes goes to the port itself."""
    assert world.ask(path, method, **headers).body == name.encode()


def test_copies_arrive_and_their_answers_are_thrown_away(world: World):
    """The shadow answers 500 to each copy, and the caller hears the registry alone."""
    seen = world.apps["shadow"].asked
    seen.clear()
    answers = [world.ask("/copied") for _ in range(20)]
    until(lambda: len(seen) == 20, "the copies")
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"registry")}
    assert set(seen) == {"/copied"}


def test_a_target_of_a_route_judges_by_its_own_rules(world: World):
    """A route permits nothing: without an Allow there the call is refused by name, and no copy gets in."""
    answer = world.ask("/closed")
    assert answer.status == 403
    log = world.mesh.plane.log(trace_id=answer.headers[decision.RESPONSE_HEADER], point=decision.POINT_HTTP)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="default-deny@builtin")
    assert log[decision.IDENTITY] == "spiffe://example.test/ns/shared/sa/closed"
    assert world.ask("/copied-to-closed").body == b"registry"
    world.mesh.plane.log(path="/copied-to-closed", identity=log[decision.IDENTITY], code="403")
    assert world.apps["closed"].asked == []
