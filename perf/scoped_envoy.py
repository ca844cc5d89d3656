"""What the configuration of an Envoy in a mesh of 1,000 services costs it, beside five clusters made by hand.

Memory is what Envoy's allocator has given out (`/memory`), less what it gives out without configuration: resident
pages differ from start to start by more than five clusters take.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.mesh import Mesh, running_mesh
from tests.ports import free_port

from perf import big_mesh, requests_in_turn
from perf.figure import figure
from ringfence.broker.run.admin import ask
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.model import Destination, Model, Workload
from ringfence.policy.scope import upstreams_of

NAME = "scoped_envoy"
GOAL = 1.1
RUNS = 7
CALLER = big_mesh.caller_key(0)
WIDE, NOTHING = "team-a/wide", "team-a/nothing"
MANY = 200  # services that WIDE may call
Cost = tuple[float, float]  # KiB of memory, milliseconds until it is ready
_LOOK_SECONDS = 0.002


def measure(runs: int = RUNS) -> dict[str, Any]:
    """The figure `scoped_envoy`."""
    requests_in_turn.quiet()
    with TemporaryDirectory() as folder:
        nothing, pairs, wide = asyncio.run(_measure(Path(folder), runs))
    shares = [(scoped[0] - nothing, alone[0] - nothing) for scoped, alone in pairs]
    value, limit = (statistics.median(column) for column in zip(*shares, strict=True))
    memory = statistics.median(mine / theirs for mine, theirs in shares)
    ready = statistics.median(scoped[1] / alone[1] for scoped, alone in pairs)
    times = [statistics.median(cost[1] for cost in column) for column in zip(*pairs, strict=True)]
    return figure(
        NAME,
        (
            f"an Envoy with {big_mesh.DEPENDENCIES} dependencies in a mesh of {big_mesh.SERVICES} services: memory of "
            f"its configuration ({memory:.2f}x of the limit), ready after {times[0]:.0f} ms (the limit after "
            f"{times[1]:.0f} ms, {ready:.2f}x); one that may call {MANY} takes {wide[0] - nothing:.0f} KiB and "
            f"{wide[1]:.0f} ms; ratio: the worse of both"
        ),
        value,
        unit="KiB",
        runs=[mine for mine, _ in shares],
        limit=("the same Envoy in a mesh of itself and those alone", limit),
        ratio=max(memory, ready),
        goal=f"<= {GOAL}x",
        met=max(memory, ready) <= GOAL,
    )


async def _measure(folder: Path, runs: int) -> tuple[float, list[tuple[Cost, Cost]], Cost]:
    whole, alone = _whole(), _alone()
    ports = [free_port() for _ in range(MANY)]
    async with AsyncExitStack() as stack:
        meshes = []
        for name, model in (("whole", whole), ("alone", alone)):
            (folder / name).mkdir()
            mesh = await stack.enter_async_context(running_mesh(folder / name, big_mesh.INTENT))
            mesh.fleet.apply(model)
            meshes.append(mesh)
        await _cost(meshes[0], whole, NOTHING, ports, 0)  # warms the files
        nothing = [(await _cost(meshes[0], whole, NOTHING, ports, turn))[0] for turn in range(1, 4)]
        pairs = [
            (await _cost(meshes[0], whole, CALLER, ports, turn), await _cost(meshes[1], alone, CALLER, ports, turn))
            for turn in range(runs)
        ]
        return statistics.median(nothing), pairs, await _cost(meshes[0], whole, WIDE, ports, 0)


async def _cost(mesh: Mesh, model: Model, key: str, ports: list[int], turn: int) -> Cost:
    """What an Envoy of that workload takes, started and ended."""
    names = [upstream.name for upstream in upstreams_of(model, model.workloads[key])]
    started = time.perf_counter()
    envoy = await mesh.envoy(key, upstream=dict(zip(names, ports, strict=False)), node=str(turn))
    async with asyncio.timeout(30):
        while "LIVE" not in await asyncio.to_thread(ask, str(envoy.admin), "/ready"):  # noqa: ASYNC110 - no event
            await asyncio.sleep(_LOOK_SECONDS)
    ready = time.perf_counter() - started
    async with asyncio.timeout(30):
        await mesh.fleet.wait_synced(mesh.fleet.revision)
    memory = json.loads(await asyncio.to_thread(ask, str(envoy.admin), "/memory"))
    envoy.process.kill()
    await envoy.process.wait()
    return int(memory["allocated"]) / 1024, ready * 1e3


def _whole() -> Model:
    """The big mesh, one workload that may call many services, and one that may call none."""
    model = big_mesh.model()
    like, rule = model.workloads[CALLER], model.rules[0]
    more = {key: _named(like, key) for key in (WIDE, NOTHING)}
    every = tuple(Destination(big_mesh.service_key(number), "http") for number in range(MANY))
    source = replace(rule.sources[0], identity=more[WIDE].spiffe_id)
    wide = replace(rule, name="wide", sources=(source,), destinations=every)
    return replace(model, workloads={**model.workloads, **more}, rules=(*model.rules, wide), revision="whole")


def _alone() -> Model:
    """The caller, what it calls, and nothing else: what one would write by hand."""
    model = big_mesh.model()
    keys = [CALLER, *(big_mesh.service_key(number) for number in big_mesh.dependencies(0))]
    me = model.workloads[CALLER].spiffe_id
    rules = tuple(rule for rule in model.rules if rule.sources[0].identity == me)
    return replace(model, workloads={key: model.workloads[key] for key in keys}, rules=rules, revision="alone")


def _named(of: Workload, key: str) -> Workload:
    namespace, _, name = key.partition("/")
    return replace(of, name=name, identity=SpiffeId(of.spiffe_id.trust_domain, f"/ns/{namespace}/sa/{name}"))
