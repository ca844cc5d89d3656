"""A hundred changes of intent a second: how soon after the last all proxies hold it, and what fails meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.load import Load, loaded
from tests.e2e.mesh import Mesh, model_of, running_mesh
from tests.ports import free_port

from perf import requests_in_turn
from perf.figure import figure
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model, Workload
from ringfence.xds import rbac
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import EXTENSION_CONFIG

NAME = "change_storm"
GOAL = 1.0  # s
A_SECOND, SECONDS, STREAMS = 100, 30, 100
_NEARLY = 0.98  # of the changes must have been made in that time
JUDGE = "/ns/shared/sa/judge"  # the streams are this one's, which nobody calls
POLICY = rbac.allow_name("inbound/http")
INTENT = """
kind: Mesh
spec: {trustDomain: example.test}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: Workload
metadata: {name: registry, namespace: shared}
spec: {role: registry, match: [{unix.uid: 1002}], serves: [{name: http, port: APP, protocol: http}]}
---
kind: Workload
metadata: {name: judge, namespace: shared}
spec: {role: serving, match: [{unix.uid: 1003}], serves: [{name: http, port: 8080, protocol: http}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: base model
---
kind: Allow
metadata: {name: ask, namespace: team-a}
spec: {from: [{namespace: team-a}], to: [{workload: judge, namespace: shared, port: http}], owner: o, reason: r}
"""


def measure(seconds: int = SECONDS) -> dict[str, Any]:
    """The figure `change_storm`."""
    requests_in_turn.quiet()
    with TemporaryDirectory() as folder:
        after, made, load = asyncio.run(_measure(Path(folder), seconds))
    return figure(
        NAME,
        (
            f"{A_SECOND} changes a second for {seconds} s, each of the rules of {STREAMS} streams over mTLS and of a "
            f"real Envoy: from the last until all hold it; {load.statuses.total()} requests through that Envoy, "
            f"{load.failed} failed; {made} changes were made"
        ),
        after,
        unit="s",
        runs=[after],
        goal=f"<= {GOAL:g} s, 0 failed",
        met=after <= GOAL and load.failed == 0 and made >= _NEARLY * A_SECOND * seconds,
    )


async def _measure(folder: Path, seconds: int) -> tuple[float, int, Load]:
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await requests_in_turn.application(stack)))
        mesh = await stack.enter_async_context(running_mesh(folder, text, compiler=_policy_alone))
        await mesh.envoy("shared/registry", inbound={"http": free_port()})
        port = free_port()
        await mesh.envoy("team-a/trainer", upstream={"registry.shared/http": port})
        await _streams(mesh, folder, stack)
        await requests_in_turn.connected(mesh, STREAMS + 2)
        await requests_in_turn.until_answers(port, None)
        async with loaded(port, path=requests_in_turn.PATH) as load:
            made = await _storm(mesh, model_of(text), seconds)
            last = time.perf_counter()
            async with asyncio.timeout(30):
                await mesh.fleet.wait_synced(mesh.fleet.revision)
            after = time.perf_counter() - last
            await load.more()
        return after, made, load


async def _streams(mesh: Mesh, folder: Path, stack: AsyncExitStack) -> None:
    """Proxies of one workload, each on a connection of its own, in another process."""
    identity = mesh.domain.issue(SpiffeId(mesh.domain.name, JUDGE))
    files = {"roots.pem": mesh.domain.authority.bundle(1).x509_pem(), "client.pem": identity.chain + identity.key}
    for name, pem in files.items():
        await asyncio.to_thread((folder / name).write_bytes, pem)
    lines = await requests_in_turn.child(
        stack, "perf.ads_load", str(mesh.port), str(STREAMS), str(folder), POLICY, stdin=asyncio.subprocess.PIPE
    )
    if await lines.readline() != b"ready\n":
        raise RuntimeError("the streams did not connect")


def _policy_alone(model: Model, workload: Workload, *arguments: Any, **more: Any) -> Snapshot:
    """The real compiler; of the streams' own workload what they ask for is kept, or they would never hold all."""
    snapshot = compile_snapshot(model, workload, *arguments, **more)
    if str(workload.spiffe_id).endswith(JUDGE):
        policy = snapshot.named(EXTENSION_CONFIG)[POLICY]
        return Snapshot({EXTENSION_CONFIG: {POLICY: policy}}, snapshot.revision)
    return snapshot


async def _storm(mesh: Mesh, model: Model, seconds: int) -> int:
    """Apply a change whenever one is due; how many that were in so many seconds."""
    begun = time.perf_counter()
    for turn in range(A_SECOND * seconds):
        await asyncio.sleep(max(0.0, begun + turn / A_SECOND - time.perf_counter()))
        if time.perf_counter() - begun > seconds:
            return turn
        mesh.fleet.apply(_changed(model, turn))
    return A_SECOND * seconds


def _changed(model: Model, turn: int) -> Model:
    """Every rule under another hash: the names that Envoy reports are others, what is allowed stays."""
    rules = tuple(replace(rule, hash=f"{turn:012x}") for rule in model.rules)
    return replace(model, rules=rules, revision=f"turn-{turn}")
