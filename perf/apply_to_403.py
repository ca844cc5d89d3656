"""Time from applying an intent to a 403 on open keep-alive connections of ten real Envoys, at the last of them."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from tests.e2e.mesh import Http, Mesh, application, model_of, running_mesh, until
from tests.policy import intent
from tests.ports import free_port

from perf.figure import figure
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Model, Workload
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot

NAME = "apply_to_403"
GOAL = 100.0  # ms
ENVOYS = 10
RUNS = 15
RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec: {match: [{unix.uid: 1002}], serves: [{name: http, port: APP, protocol: http}]}
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{methods: [GET], paths: ["/models/**"]}]
  owner: ml
  reason: base model
"""
INTENT = intent.joined(intent.MESH, intent.TRAINER, RULES)
DENIES = """
---
kind: Deny
metadata: {name: revoked-TURN, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{workload: registry, namespace: shared, port: http}], owner: o, reason: r}
"""


class Remembering:
    """The real compiler, which gives what it made before without work: then only the push is left to be measured."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], Snapshot] = {}

    def __call__(
        self,
        model: Model,
        workload: Workload,
        instance: Instance,
        endpoints: Mapping[tuple[str, str], tuple[Endpoint, ...]],
        *,
        now: datetime,
    ) -> Snapshot:
        """The snapshot of a proxy."""
        key = (model.revision, instance.node_id)
        if key not in self.made:
            self.made[key] = compile_snapshot(model, workload, instance, endpoints, now=now)
        return self.made[key]


def measure(envoys: int = ENVOYS, runs: int = RUNS) -> dict[str, Any]:
    """The figure `apply_to_403`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with TemporaryDirectory() as folder:
        pairs = asyncio.run(_measure(Path(folder), envoys, runs))
    value, bound = (statistics.median(column) for column in zip(*pairs, strict=True))
    return figure(
        NAME,
        f"policy apply to 403 on open connections of {envoys} Envoys, at the last; ratio: ours over the limit",
        value,
        unit="ms",
        runs=[mine for mine, _ in pairs],
        limit=("push to effect alone, every snapshot compiled before", bound),
        ratio=statistics.median(mine / theirs for mine, theirs in pairs),
        goal=f"<= {GOAL:.0f} ms",
        met=value <= GOAL,
    )


async def _measure(folder: Path, envoys: int, runs: int) -> list[tuple[float, float]]:
    compiler = Remembering()
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(folder, text, compiler=compiler))
        ports = [free_port() for _ in range(envoys)]
        for index, port in enumerate(ports):
            await mesh.envoy("shared/registry", node=str(index), inbound={"http": port})
        await until(lambda: len(mesh.fleet) == envoys)
        await mesh.fleet.wait_synced(mesh.fleet.revision)
        watch = await _watch(mesh, folder, ports, stack)
        await watch.all_are(200)
        pairs = []
        for turn in range(runs):
            denied = model_of(text + DENIES.replace("TURN", str(turn)))
            allowed = model_of(text)
            mine = await _change(mesh, watch, denied, 403)
            await _change(mesh, watch, allowed, 200)
            theirs = await _change(mesh, watch, denied, 403)
            await _change(mesh, watch, allowed, 200)
            pairs.append((mine, theirs))
        return pairs


class Watch:
    """What the poller's connections see."""

    def __init__(self, lines: asyncio.StreamReader, connections: int) -> None:
        self._lines = lines
        self._status = [0] * connections

    async def all_are(self, status: int) -> float:
        """The time at which the last connection saw *status*."""
        async with asyncio.timeout(30):
            while True:
                index, seen, at = (await self._lines.readline()).split()
                self._status[int(index)] = int(seen)
                if set(self._status) == {status}:
                    return float(at)


async def _change(mesh: Mesh, watch: Watch, model: Model, status: int) -> float:
    started = time.monotonic()
    mesh.fleet.apply(model)
    last = await watch.all_are(status)
    async with asyncio.timeout(30):
        await mesh.fleet.wait_synced(model.revision)
    return (last - started) * 1e3


async def _watch(mesh: Mesh, folder: Path, ports: list[int], stack: AsyncExitStack) -> Watch:
    identity = mesh.domain.issue(SpiffeId(mesh.domain.name, "/ns/team-a/sa/trainer"))
    pem = folder / "poller.pem"
    await asyncio.to_thread(pem.write_bytes, identity.chain + identity.key)
    context = mesh.client("/ns/team-a/sa/trainer")
    async with asyncio.timeout(30):
        for port in ports:
            while not await answers(port, context):  # noqa: ASYNC110  # Envoy sets no event of ours
                await asyncio.sleep(0.05)
    arguments = ["-m", "perf.poll_status", str(pem), "/models/base", *map(str, ports)]
    poller = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert poller.stdout is not None

    async def end() -> None:
        poller.kill()
        await poller.wait()

    stack.push_async_callback(end)
    return Watch(poller.stdout, len(ports))


async def answers(port: int, context: Any) -> bool:
    """Whether a request to that port gets 200, on a connection of its own."""
    try:
        http = await Http.connect(port, context)
        status = await http.get("/models/base")
    except OSError:
        return False
    http.close()
    return status == 200
