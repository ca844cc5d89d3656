"""A real Envoy and changes of policy: nothing before it is there, and no connection that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ringfence.xds import types
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Instance
from ringfence.xds.snapshot import Snapshot
from tests.e2e.plane import until
from tests.e2e.proxies import Caller, envoy, listening, stat
from tests.e2e.registry import NODE, REVOKED, RULES, Bench, closed, connect, model_of, registry
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy for all tests here."""
    with registry(tmp_path_factory.mktemp("e")) as running:
        yield running


def test_an_open_connection_feels_a_revocation_on_its_next_request(bench: Bench):
    """The rule goes, and the very connection that was just served is refused; it comes back, and it is served."""
    try:
        with Caller(bench.http, bench.tls("team-a/trainer")) as caller:
            local = caller.socket.getsockname()
            assert caller.ask("GET", "/models/team-a/base").status == 200
            bench.apply(REVOKED)
            until(lambda: caller.ask("GET", "/models/team-a/base").status == 403, "the revocation")
            bench.apply(RULES)
            until(lambda: caller.ask("GET", "/models/team-a/base").status == 200, "the rule again")
            assert caller.socket.getsockname() == local
    finally:
        bench.apply(RULES)


def test_nothing_is_served_before_the_policy_is_there(bench: Bench):
    """A listener whose policy has not come waits for it, for as long as it takes, and is not listening."""
    port, node = free_port(), "late"
    instance = Instance(node, inbound={"http": ("127.0.0.1", port)})
    model = model_of(bench.app_port, RULES)
    whole = compile_snapshot(model, model.workloads["shared/registry"], instance, {}, now=datetime.now(UTC))
    without = {
        url: {name: replace(resource, needs=frozenset()) for name, resource in named.items()}
        for url, named in whole.resources.items()
        if url != types.EXTENSION_CONFIG
    }
    bench.plane.snapshots[node] = Snapshot(without, "without policy")
    bench.plane.secrets[node] = bench.plane.secrets[NODE]
    with envoy(node, bench.plane.port, str(bench.folder / "agent.sock"), bench.folder):
        until(
            lambda: stat(bench.folder / f"{node}.admin", "listener_manager.total_listeners_active") == 1, "a listener"
        )
        with pytest.raises(ConnectionRefusedError):
            Caller(port)
        bench.plane.serve(node, whole)
        listening(port)
        with Caller(port, bench.tls("team-b/notebook")) as caller:
            assert caller.ask("GET", "/models/team-a/base").status == 403


def test_a_revocation_closes_an_open_tcp_connection(bench: Bench):
    """Network RBAC never judges a live connection again: the changed chain drains, which ends it."""
    without = RULES.rpartition("---\n")[0]
    try:
        with connect(bench, "team-a/trainer") as open_one:
            open_one.sendall(b"rows")
            assert open_one.recv(64)
            bench.apply(without)
            open_one.settimeout(30)
            assert closed(open_one)
    finally:
        bench.apply(RULES)
