"""A real Envoy judges TCP connections: before the application hears of them, and by name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ringfence.policy.evaluate import Request, evaluate
from ringfence.xds import decision
from tests.e2e.registry import RULES, Bench, closed, connect, model_of, name_of, registry

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


def test_a_tcp_connection_is_judged_before_the_application_hears_of_it(bench: Bench):
    """The allowed one is passed on and named by its rule; a stranger is closed, unanswered, and named too."""
    with connect(bench, "team-a/trainer") as allowed:
        allowed.sendall(b"rows")
        assert allowed.recv(64) in {b"hello ", b"hello rows"}
        log = bench.plane.log(point=decision.POINT_TCP, peer__address=name_of(allowed))
    assert decision.decide(log) == _judged(bench, "team-a/trainer")
    before = len(bench.received)
    with connect(bench, "team-b/notebook") as denied:
        denied.sendall(b"rows")
        assert closed(denied)
        name = name_of(denied)
    log = bench.plane.log(point=decision.POINT_TCP, peer__address=name)
    assert decision.decide(log) == _judged(bench, "team-b/notebook")
    assert log[decision.PEER].endswith("/team-b/sa/notebook")
    assert log[decision.STREAM_ID] not in {"", "-"}
    assert len(bench.received) == before


def test_a_stranger_is_not_greeted_by_a_server_that_speaks_first(bench: Bench):
    """RBAC judges on the first byte; until then the application's side is not even connected."""
    with connect(bench, "team-b/notebook") as silent:
        silent.settimeout(0.5)
        with pytest.raises(TimeoutError):
            silent.recv(1)


def test_two_uri_names_are_refused_on_tcp_too(bench: Bench):
    """The guard stands in the network tree as well."""
    forged = bench.own.forge("spiffe://example.test/ns/team-a/sa/trainer", "spiffe://example.test/x")
    with socket.create_connection(("127.0.0.1", bench.db), timeout=30) as raw, bench.tls(forged).wrap_socket(raw) as s:
        s.sendall(b"rows")
        assert closed(s)
    log = bench.plane.log(connection="not-one-uri@builtin")
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="not-one-uri@builtin")


def _judged(bench: Bench, key: str) -> decision.Decision:
    """What the evaluator says of a connection to the database, its shadow rule included."""
    model = model_of(bench.app_port, RULES)
    request = Request(model.workloads[key].spiffe_id, "shared/registry", "db", datetime.now(UTC))
    verdict = evaluate(model, request)
    assert verdict.shadow is not None
    return decision.Decision(verdict.allowed, verdict.policy_id, verdict.shadow.policy_id)
