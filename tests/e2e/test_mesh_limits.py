"""Rate limits with real Envoys: by who calls, behind the rules, and told to the caller and to the records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from ringfence.certs.spiffe_id import SpiffeId
from ringfence.xds import decision
from tests.e2e.plane import until
from tests.e2e.proxies import Answer, Caller, http_app
from tests.e2e.rpc import rpc_app
from tests.e2e.sidecars import Sidecars, sidecars
from tests.policy import intent

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

HTTP, RPC = "registry.shared/http", "registry.shared/rpc"
RULES = """
kind: Workload
metadata: {name: other, namespace: team-a}
spec: {match: [{unix.uid: 1004}]}
---
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: APP, protocol: http}, {name: rpc, port: RPC, protocol: grpc}]
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{namespace: team-a}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/**"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: calls, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: rpc}]
  owner: ml
  reason: calls
---
kind: Traffic
metadata: {name: quota, namespace: shared}
spec:
  to: {workload: registry, port: http}
  rateLimits: [LIMITS]
---
kind: Traffic
metadata: {name: calls, namespace: shared}
spec:
  to: {workload: registry, port: rpc}
  rateLimits: [{requests: 2, per: 2h}]
"""

FREE_FOR_ALL = "{requests: 1000000, per: 1s, by: all}"


class World:
    """Two callers of a registry whose port counts."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        rules = RULES.replace("APP", str(stack.enter_context(http_app()))).replace(
            "RPC,", f"{stack.enter_context(rpc_app())},"
        )
        self._text = intent.joined(intent.MESH, intent.TRAINER, rules)
        self._taken = 0
        self.mesh: Sidecars = stack.enter_context(
            sidecars(folder, self._with(f"{{requests: 1, per: 1h}}, {FREE_FOR_ALL}"))
        )

    def limit(self, limits: str) -> None:
        """Put other limits in force; their buckets are full. Always of both kinds, so that the listener stays."""
        self.mesh.apply(self._with(limits))
        self._taken += 1
        until(lambda: self._takes_effect(limits), limits)

    def ask(self, key: str, path: str = "/models/a", **headers: str) -> Answer:
        """One request of that workload."""
        with self.mesh.caller(key, HTTP) as caller:
            return caller.ask("GET", path, **headers)

    def _with(self, limits: str) -> str:
        return self._text.replace("LIMITS", limits)

    def _takes_effect(self, limits: str) -> bool:
        """Asked by a probe with an identity of its own: nobody's bucket is touched but that for all, and that once."""
        first = dict(pair.split(": ") for pair in limits.partition("}")[0].removeprefix("{").split(", "))
        probe = self.mesh.domain.issue(SpiffeId(self.mesh.domain.name, f"/ns/team-a/sa/probe-{self._taken}"))
        port = self.mesh.instances["shared/registry"].inbound["http"][1]
        with Caller(port, probe.client(self.mesh.folder)) as caller:
            return caller.ask("GET", "/models/probe").headers.get("x-ratelimit-limit") == first.get(
                "burst", first["requests"]
            )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests here."""
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("e"))


def test_each_caller_has_a_bucket_of_its_own_whatever_it_says(world: World):
    """The trainer's is empty, the other's is not; no header makes it somebody else."""
    world.limit(f"{{requests: 3, per: 3h, by: caller}}, {FREE_FOR_ALL}")
    said = {"x-forwarded-client-cert": "URI=spiffe://example.test/ns/team-a/sa/other", "x-forwarded-for": "10.9.9.9"}
    answers = [world.ask("team-a/trainer", **(said if turn > 2 else {})) for turn in range(5)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [world.ask("team-a/other").status for _ in range(3)] == [200, 200, 200]
    assert world.ask("team-a/other").status == 429


def test_a_refusal_says_when_to_come_back_and_is_a_decision(world: World):
    """Headers for the caller; for the records the name of the limit, though an Allow let the request in."""
    world.limit(f"{{requests: 2, per: 2h, burst: 1, by: caller}}, {FREE_FOR_ALL}")
    first, refused = world.ask("team-a/trainer"), world.ask("team-a/trainer")

    assert first.status == 200
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("1", "0")
    assert refused.status == 429
    assert (refused.headers["retry-after"], refused.headers["x-ratelimit-remaining"]) == ("3600", "0")
    log = world.mesh.plane.log(trace_id=refused.headers[decision.RESPONSE_HEADER], point=decision.POINT_HTTP)
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="rate-limited@builtin")
    assert log[decision.ALLOW].startswith("team-a/pull@")
    assert log[decision.PEER] == "spiffe://example.test/ns/team-a/sa/trainer"


def test_what_rules_refuse_costs_nothing(world: World):
    """A flood of refused requests leaves the bucket for all full."""
    world.limit("{requests: 900000, per: 1s, by: caller}, {requests: 4, per: 4h, by: all}")
    taken_by_the_probe = 1
    assert {world.ask("team-a/trainer", "/secret").status for _ in range(20)} == {403}
    answers = [world.ask(key).status for key in ("team-a/trainer", "team-a/other", "team-a/trainer", "team-a/other")]
    assert answers == [200] * (4 - taken_by_the_probe) + [429] * taken_by_the_probe


def test_who_exceeds_his_own_limit_takes_nothing_from_the_others(world: World):
    """A caller's own limits count first."""
    world.limit("{requests: 2, per: 2h, by: caller}, {requests: 6, per: 6h, by: all}")
    assert [world.ask("team-a/trainer").status for _ in range(20)] == [200] * 2 + [429] * 18
    assert [world.ask("team-a/other").status for _ in range(2)] == [200, 200]


def test_a_bucket_fills_again(world: World):
    """Evenly over the time of the limit: ten in a second are one every tenth of it."""
    world.limit(f"{{requests: 10, per: 1s, burst: 1, by: caller}}, {FREE_FOR_ALL}")
    with world.mesh.caller("team-a/trainer", HTTP) as caller:
        until(lambda: caller.ask("GET", "/models/a").status == 429, "an empty bucket")
        until(lambda: caller.ask("GET", "/models/a").status == 200, "a token")


def test_grpc_hears_resource_exhausted(world: World):
    """In gRPC's own words, not as UNAVAILABLE, which libraries would try again at once."""
    with grpc.insecure_channel(f"127.0.0.1:{world.mesh.port('team-a/trainer', RPC)}") as channel:
        call: Any = channel.unary_unary("/registry.Models/Get")
        assert [call(b"x", timeout=20) for _ in range(2)] == [b"x", b"x"]
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x", timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    log = world.mesh.plane.log(listener="inbound/rpc", details="local_rate_limited")
    assert decision.decide(log) == decision.Decision(allowed=False, policy_id="rate-limited@builtin")
    assert world.mesh.plane.nacks == []
