"""How many of 500 connected proxies a change of intent is pushed to, for each whose configuration it changes."""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from perf import big_mesh
from perf.acting_proxies import ActingProxy, NoLog
from perf.figure import figure
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.fleet.scope import Scopes
from ringfence.policy.model import Model
from ringfence.xds.compile import compile_snapshot

NAME = "pushes_per_affected"
PROXIES = 500
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def measure(proxies: int = PROXIES) -> dict[str, Any]:
    """The figure `pushes_per_affected`: what is affected is found by compiling all of them, before and after."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    pairs = asyncio.run(_measure(proxies))
    ratios = [pushed / affected for pushed, affected in pairs if affected]
    return figure(
        NAME,
        (
            f"proxies that a change is pushed to, of {proxies}, for each that it affects, over {len(pairs)} changes: a "
            "rule's methods, a rule gone, a rule for a whole namespace, a reason and line numbers "
            f"(pushed, affected: {', '.join(f'{pushed}, {affected}' for pushed, affected in pairs)})"
        ),
        statistics.mean(ratios),
        unit="x",
        runs=ratios,
        goal="1.0",
        met=all(pushed == affected for pushed, affected in pairs),
    )


async def _measure(proxies: int) -> list[tuple[int, int]]:
    model = big_mesh.model()
    fleet = Fleet(compile_snapshot, NoLog(), clock=lambda: NOW)
    await fleet.restore()
    fleet.apply(model)
    half = proxies // 2
    keys = [key(number) for number in range(half) for key in (big_mesh.service_key, big_mesh.caller_key)]
    acting = [ActingProxy(fleet, model.workloads[key]) for key in keys]
    for proxy in acting:
        await proxy.start()
    await _settled(fleet, acting)
    pairs, before = [], _all(model, acting)
    for after in _changes(model):
        fleet.apply(after)
        pushed, now = await _settled(fleet, acting), _all(after, acting)
        pairs.append((pushed, sum(old != new for old, new in zip(before, now, strict=True))))
        before = now
    return pairs


async def _settled(fleet: Fleet, acting: list[ActingProxy]) -> int:
    """How many proxies anything came to until all hold what is in force."""
    pushed = set()
    while True:
        await asyncio.sleep(0)
        pushed |= {proxy for proxy in acting if await proxy.take()}
        if all(row.state == "SYNCED" for row in fleet.list_proxies()):
            return len(pushed)


def _changes(model: Model) -> Iterator[Model]:
    for turn in (5, 50, 100):
        yield (model := big_mesh.changed(model, turn))
    yield (model := replace(model, rules=model.rules[1:], revision="gone"))
    first = model.rules[0]
    wide = replace(first, name="a-wide", sources=(replace(first.sources[0], identity=None, namespace="team-a"),))
    yield (model := replace(model, rules=(wide, *model.rules), revision="wide"))
    moved = [replace(rule, origin=replace(rule.origin, line=rule.origin.line + 1)) for rule in model.rules]
    yield replace(model, rules=tuple(moved), revision="moved")


def _all(model: Model, acting: list[ActingProxy]) -> list[Mapping[str, Any]]:
    """All that each of them is to hold, by type and name; nobody's endpoints are among it, which do not change."""
    scopes = Scopes(model, NOW)
    return [_compiled(scopes, proxy) for proxy in acting]


def _compiled(scopes: Scopes, proxy: ActingProxy) -> Mapping[str, Any]:
    scope = scopes.of(proxy.workload.key)
    if scope is None:
        return {}
    return compile_snapshot(scope.model, scope.workload, proxy.instance, {}, now=NOW).resources
