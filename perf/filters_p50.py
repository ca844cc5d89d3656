"""What a request takes at an Envoy with our rules and log, over what it takes at the same Envoy without them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.broker.evidence.books import NoRules
from tests.e2e.mesh import model_of, running_mesh
from tests.ports import free_port

from perf import requests_in_turn
from perf.figure import figure
from perf.rbac_flat import INTENT, many_rules, named
from ringfence.broker.evidence.service import Evidence
from ringfence.policy.model import Model, Workload
from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Resource, Snapshot
from ringfence.xds.types import EXTENSION_CONFIG, LISTENER

NAME = "filters_p50"
GOAL = 1.25
RULES = 100
BARE, UNTRACED = "shared/bare", "shared/untraced"  # their proxies have no filter of ours; all but the tracer
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def measure() -> dict[str, Any]:
    """The figure `filters_p50`."""
    requests_in_turn.quiet()
    with TemporaryDirectory() as folder:
        rounds, decisions = asyncio.run(_measure(Path(folder)))
    value, bare, traced = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(ours / without for ours, without, _ in rounds)
    with_spans = statistics.median(every / without for _, without, every in rounds)
    return figure(
        NAME,
        (
            f"a request over mutual TLS at an Envoy that judges it by {RULES} rules and logs it by OTLP, p50 (with a "
            f"span a request too, as we have it: {traced:.0f} us, {with_spans:.2f}x; {decisions} decisions came in); "
            "ratio: over the limit"
        ),
        value,
        unit="us",
        runs=[ours for ours, *_ in rounds],
        limit=("the same Envoy with a router and nothing else", bare),
        ratio=ratio,
        goal=f"<= {GOAL}x",
        met=ratio <= GOAL,
    )


async def _measure(folder: Path) -> tuple[list[list[float]], int]:
    evidence = Evidence(NoRules())
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await requests_in_turn.application(stack)))
        options = {"compiler": _without, "methods": evidence.methods()}
        mesh = await stack.enter_async_context(running_mesh(folder, text, **options))
        mesh.fleet.apply(_model(text))
        ports = [free_port() for _ in range(3)]
        for key, port in zip((UNTRACED, BARE, "shared/few"), ports, strict=True):
            await mesh.envoy(key, inbound={"http": port})
        await requests_in_turn.connected(mesh, len(ports))
        rounds = await requests_in_turn.medians(mesh, folder, ports, stack)
        if not evidence.decisions.added:
            raise RuntimeError("the proxy with a log has sent none")
        return rounds, evidence.decisions.added


def _model(text: str) -> Model:
    small = model_of(text)
    others = {key: named(small.workloads["shared/few"], key.partition("/")[2]) for key in (BARE, UNTRACED)}
    rules = [rule for name in ("few", "bare", "untraced") for rule in many_rules(small, name, RULES)]
    ordered = tuple(sorted(rules, key=lambda rule: rule.id))
    return replace(small, workloads={**small.workloads, **others}, rules=ordered, revision="many")


def _without(model: Model, workload: Workload, *arguments: Any, **more: Any) -> Snapshot:
    """The real compiler; of some services' listeners a part is left out."""
    snapshot = compile_snapshot(model, workload, *arguments, **more)
    less = {BARE: _router_only, UNTRACED: _untraced}.get(workload.key)
    return Snapshot.of(_lessened(snapshot, less), snapshot.revision) if less is not None else snapshot


def _lessened(snapshot: Snapshot, less: Callable[[Any], None]) -> Iterator[tuple[str, Resource]]:
    for url, kept in snapshot.resources.items():
        if url == EXTENSION_CONFIG and less is _router_only:
            continue  # nothing asks for them, so that the proxy would never hold all
        for name, resource in kept.items():
            yield codec.resource(name, _listener(resource, less)) if url == LISTENER else (url, resource)


def _listener(resource: Resource, less: Callable[[Any], None]) -> Any:
    listener = codec.unpack(resource.any)
    last = listener.filter_chains[0].filters[-1]
    manager: Any = codec.message(_MANAGER).FromString(last.typed_config.value)
    less(manager)
    last.typed_config.value = codec.encode(manager)
    if not manager.access_log:
        listener.ClearField("access_log")
        del listener.filter_chains[0].filters[:-1]
    return listener


def _router_only(manager: Any) -> None:
    manager.ClearField("access_log")
    manager.ClearField("tracing")
    del manager.http_filters[:-1]


def _untraced(manager: Any) -> None:
    manager.ClearField("tracing")
