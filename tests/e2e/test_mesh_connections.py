"""A limit of connections with a real Envoy: one too many is closed before its handshake, and told by name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import Caller, http_app, stat
from tests.e2e.sidecars import Sidecars, sidecars
from tests.policy import intent

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

KEY, MOST = "shared/registry", 2
RULES = f"""
kind: Workload
metadata: {{name: registry, namespace: shared}}
spec:
  match: [{{unix.uid: 1002}}]
  serves:
  - {{name: http, port: APP, protocol: http, maxConnections: {MOST}}}
  - {{name: free, port: 1, protocol: http}}
---
kind: Allow
metadata: {{name: pull, namespace: team-a}}
spec:
  from: [{{workload: trainer}}]
  to: [{{workload: registry, namespace: shared, port: http}}]
  owner: ml
  reason: base model
"""


class World:
    """A registry whose port keeps two connections, and callers with an identity and no proxy."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        rules = RULES.replace("APP", str(stack.enter_context(http_app())))
        text = intent.joined(intent.MESH, intent.TRAINER, rules)
        self.mesh: Sidecars = stack.enter_context(sidecars(folder, text))
        until(lambda: self.figure("active_connections") == 0, "no connection of those who waited for the port")

    def figure(self, name: str) -> int | None:
        """One of the limit's figures at the registry's Envoy."""
        return stat(self.mesh.admin(KEY), f"connection_limit.inbound/http.{name}")

    def caller(self) -> Caller:
        """A connection of the trainer's."""
        trainer = self.mesh.domain.issue(SpiffeId(self.mesh.domain.name, "/ns/team-a/sa/trainer"))
        return Caller(self.mesh.instances[KEY].inbound["http"][1], trainer.client(self.mesh.folder))

    def too_many(self) -> str:
        """The address of a connection that is closed without a word, before anything of TLS."""
        with socket.create_connection(("127.0.0.1", self.mesh.instances[KEY].inbound["http"][1]), timeout=20) as raw:
            name = "{}:{}".format(*raw.getsockname())
            with suppress(ConnectionError):
                assert raw.recv(1) == b""
            return name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


def test_one_too_many_is_closed_and_told_and_the_others_go_on(world: World):
    """It is a decision by name, counted, and whoever is in stays in; when one has left another is let in."""
    with world.caller() as first:
        with world.caller() as second:
            assert [one.ask("GET", "/").status for one in (first, second)] == [200, 200]
            refused = world.figure("limited_connections") or 0
            name = world.too_many()
            assert world.figure("limited_connections") == refused + 1
            log = world.mesh.plane.log(point=decision.POINT_TLS, peer__address=name)
            told = decision.Decision(allowed=False, policy_id="connection-limited@builtin")
            assert decision.decide(log) == told
            assert [one.ask("GET", "/").status for one in (first, second)] == [200, 200]
        until(lambda: world.figure("active_connections") == 1, "the end of the second")
        with world.caller() as third:
            assert third.ask("GET", "/").status == 200
    assert world.mesh.plane.nacks == []


def test_what_is_let_in_is_no_refusal(world: World):
    """A connection that ends well leaves no decision at the handshake's point, nor does one that says nothing."""
    until(lambda: world.figure("active_connections") == 0, "no connection")
    with world.caller() as caller:
        assert caller.ask("GET", "/").status == 200
    until(lambda: world.figure("active_connections") == 0, "its end")
    name = world.mesh.instances[KEY].inbound["http"]
    with socket.create_connection(name, timeout=20) as silent:
        address = "{}:{}".format(*silent.getsockname())
    log = world.mesh.plane.log(point=decision.POINT_TLS, peer__address=address)
    assert decision.decide(log) in {None, decision.Decision(allowed=False, policy_id="not-mtls@builtin")}


def test_a_port_without_a_limit_has_none(world: World):
    """Nobody pays for what nobody asked for."""
    assert stat(world.mesh.admin(KEY), "connection_limit.inbound/free.active_connections") is None
