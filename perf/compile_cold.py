"""CPU to compile a whole mesh of 2,000 workloads to bytes, beside what encoding the same messages takes alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from perf import big_mesh
from perf.figure import figure
from ringfence.broker.fleet.scope import Scope, Scopes
from ringfence.xds import codec, sharing
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.instance import Endpoint, Instance
from ringfence.xds.snapshot import Snapshot

NAME = "compile_cold"
GOAL = 2.0  # s
RUNS = 5
NOW = datetime(2026, 12, 1, tzinfo=UTC)  # nothing expires in this mesh
_TWO = (Endpoint("10.0.0.1", 15_000), Endpoint("10.0.0.2", 15_000))


def compiled(scope: Scope) -> Snapshot:
    """What a proxy of that workload is to hold, which has an address for every port and upstream."""
    instance = Instance(
        "node",
        {port.name: ("10.0.0.1", 15_000 + index) for index, port in enumerate(scope.workload.serves)},
        {upstream.name: ("127.0.0.1", 20_000 + index) for index, upstream in enumerate(scope.upstreams)},
    )
    endpoints = {(upstream.key, upstream.port): _TWO for upstream in scope.upstreams}
    return compile_snapshot(scope.model, scope.workload, instance, endpoints, now=NOW)


def all_scopes(scopes: Scopes) -> Iterable[Scope]:
    """That of every workload."""
    return (scope for key in scopes.model.workloads if (scope := scopes.of(key)) is not None)


def measure(runs: int = RUNS) -> dict[str, Any]:
    """The figure `compile_cold`."""
    model = big_mesh.model()
    snapshots, _ = _cold(model)  # warms what a process makes once
    messages = [codec.unpack(resource.any) for snapshot in snapshots for resource in _resources(snapshot)]
    pairs = [(_cold(model)[1], _encoded(messages)) for _ in range(runs)]
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    size = sum(len(resource.any) for snapshot in snapshots for resource in _resources(snapshot))
    return figure(
        NAME,
        (
            f"{big_mesh.SERVICES} services, {len(model.workloads)} workloads, {len(model.rules)} rules: CPU from the "
            f"model to all {len(messages)} resources of {len(snapshots)} proxies, {size / 1e6:.0f} MB; ratio: ours "
            "over the limit"
        ),
        value,
        unit="s",
        runs=[mine for mine, _ in pairs],
        limit=("encoding the same messages, once they are built", limit),
        ratio=statistics.median(mine / theirs for mine, theirs in pairs),
        goal=f"<= {GOAL:g} s",
        met=value <= GOAL,
    )


def _cold(model: Any) -> tuple[list[Snapshot], float]:
    sharing.forget()
    started = time.process_time()
    snapshots = [compiled(scope) for scope in all_scopes(Scopes(model, NOW))]
    return snapshots, time.process_time() - started


def _encoded(messages: Iterable[Any]) -> float:
    started = time.process_time()
    for message in messages:
        codec.encode(message)
    return time.process_time() - started


def _resources(snapshot: Snapshot) -> Iterable[Any]:
    return (resource for named in snapshot.resources.values() for resource in named.values())
