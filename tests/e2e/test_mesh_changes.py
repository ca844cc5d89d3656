"""Changes of policy and routes under load: callers and called go on as if nothing had happened."""

from __future__ import annotations

import pytest

from tests.e2e.load import loaded
from tests.e2e.replicas import INTENT, replicas

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

CANARY = """---
kind: Workload
metadata: {name: canary, namespace: a}
spec:
  match: [{unix.uid: 3}]
  serves: [{name: http, socket: web.sock, protocol: http}]
"""
SPLIT = "[{{workload: web, weight: {web}}}, {{workload: canary, weight: {canary}}}]"


def allow(name: str, to: str = "web", more: str = "") -> str:
    """A rule that lets the client call that workload."""
    return f"""---
kind: Allow
metadata: {{name: {name}, namespace: a}}
spec:
  from: [{{workload: client}}]
  to: [{{workload: {to}, port: http}}]
  owner: test
  reason: test
{more}"""


def deny(name: str, more: str) -> str:
    """A rule that holds somebody off."""
    return allow(name, "web", more).replace("kind: Allow", "kind: Deny")


def traffic(*fields: str) -> str:
    """What is said of calls to the port."""
    said = "".join(f"  {text}\n" for text in fields)
    return f"---\nkind: Traffic\nmetadata: {{name: web, namespace: a}}\nspec:\n  to: {{workload: web}}\n{said}"


def split(web: int, canary: int) -> str:
    """Shares of both workloads."""
    return f"routes: [{{split: {SPLIT.format(web=web, canary=canary)}}}]"


# Each is a whole intent, in which the client may call whatever its routes lead to.
WORKLOADS = INTENT.rpartition("---\n")[0] + CANARY
OPEN = WORKLOADS + allow("calls") + allow("tries", "canary")
HEALTH = "healthCheck: {http: /healthz, interval: 100ms, timeout: 1s}"
CHANGES = (
    OPEN + traffic("timeout: 30s"),
    OPEN + traffic("timeout: 20s", split(1, 1)),
    OPEN + traffic("timeout: 20s", split(9, 1)),
    OPEN + traffic("timeout: 20s", split(0, 1)),
    OPEN + traffic(split(1, 0)),
    WORKLOADS + allow("other") + allow("tries", "canary") + traffic(split(1, 1)),
    OPEN + allow("third") + traffic("routes: [{match: [{paths: [/x]}], split: [{workload: canary, weight: 1}]}]"),
    OPEN + traffic("retries: {attempts: 2, on: [unavailable, reset]}"),
    OPEN + traffic("outlierDetection: {consecutiveErrors: 5}"),
    OPEN + traffic("balance: least-request"),
    OPEN + traffic("balance: random", "connectTimeout: 3s"),
    OPEN + traffic("limits: {maxConnections: 100, maxRequests: 1000}"),
    OPEN + traffic(HEALTH),
    OPEN + traffic(HEALTH, "zones: {preferLocal: true}"),
    OPEN + deny("nobody", '  http: [{methods: [DELETE], paths: ["/**"]}]\n'),
    OPEN + deny("later", '  http: [{paths: ["/later/**"]}]\n') + traffic(split(1, 2)),
    WORKLOADS + allow("calls", more="  http: [{methods: [GET]}]\n") + allow("tries", "canary"),
    WORKLOADS + allow("calls", more="  http: [{paths: [/]}]\n") + allow("tries", "canary") + traffic("idleTimeout: 9m"),
    OPEN + traffic("routes: [{mirror: {workload: canary, percent: 50}}]"),
    OPEN + traffic(split(3, 1), "timeout: 10s"),
    OPEN,
)


@pytest.mark.parametrize("state_of_the_world", [True, False], ids=["sotw", "delta"])
async def test_twenty_changes_under_load_fail_no_request(*, state_of_the_world: bool) -> None:
    """Weights, routes, timeouts, clusters and rules: each is in force at every proxy before the next one comes."""
    async with replicas(text=OPEN) as found:
        for name, workload in (("a", "web"), ("b", "web"), ("c", "canary")):
            await found.add(name, workload=workload, state_of_the_world=state_of_the_world)
        await found.call(knows=2, state_of_the_world=state_of_the_world)
        async with loaded(found.upstream, callers=6) as load:
            for text in CHANGES:
                await load.more(30)
                await found.apply(text)
            await load.more(30)

    assert len(CHANGES) > 20
    assert (load.failed, load.said.keys()) == (0, {"a", "b", "c"}), load.failures
