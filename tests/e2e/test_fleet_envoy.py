"""Real Envoys under our own fleet and lane, in both variants of the protocol."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ringfence.xds import codec
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.types import CLUSTER
from tests.e2e.mesh import Envoy, Http, Mesh, application, model_of, running_mesh, until
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

UPSTREAM = "registry.shared/http"
BOUND = 30.0  # seconds on a busy machine; perf/ measures what it is on an idle one
RULES = """
kind: Workload
metadata: {name: registry, namespace: shared}
spec:
  match: [{unix.uid: 1002}]
  serves: [{name: http, port: APP, protocol: http}, {name: metrics, port: 9, protocol: http}]
---
kind: Allow
metadata: {name: pull, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: registry, namespace: shared, port: http}]
  http: [{paths: ["/models/**"]}]
  owner: ml
  reason: base model
"""
INTENT = intent.joined(intent.MESH, intent.TRAINER, RULES)
variants = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


async def pair(mesh: Mesh, *, sotw: bool) -> tuple[Envoy, Envoy]:
    """A registry's and a trainer's proxy, both in step with the server."""
    registry = await mesh.envoy("shared/registry", inbound={"http": free_port()}, state_of_the_world=sotw)
    trainer = await mesh.envoy("team-a/trainer", upstream={UPSTREAM: free_port()}, state_of_the_world=sotw)
    await until(lambda: len(mesh.fleet) == 2)
    await synced(mesh)
    return registry, trainer


async def synced(mesh: Mesh) -> None:
    """Until every proxy holds what is in force, within the patience of a test."""
    async with asyncio.timeout(20):
        assert await mesh.fleet.wait_synced(mesh.fleet.revision)


async def connected(port: int) -> Http:
    """A connection, as soon as the listener is there."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await Http.connect(port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


@variants
async def test_a_call_goes_through_two_proxies_and_a_revocation_cuts_it_on_the_open_connection(
    tmp_path: Path, *, sotw: bool
) -> None:
    """200, then 403 on the same connection within moments, and no listener was touched for it."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        registry, trainer = await pair(mesh, sotw=sotw)
        http = await connected(trainer.upstream[UPSTREAM])
        stack.callback(http.close)
        assert await http.get("/models/a") == 200
        assert await http.get("/other") == 403

        started = time.monotonic()
        assert mesh.fleet.apply(model_of(text.replace("/models/**", "/none"))) == 2
        while await http.get("/models/a") != 403:
            assert time.monotonic() - started < BOUND
        await synced(mesh)
        stats = await registry.stats()

    assert stats["listener_manager.listener_modified"] == 0
    assert not len(mesh.fleet), "their streams have ended"


@variants
async def test_a_changed_cluster_is_warm_at_once_and_no_request_fails(tmp_path: Path, *, sotw: bool) -> None:
    """Its endpoints come with it, unasked; without them it would warm until a fetch timeout of 15 s."""
    seconds = [5]

    def changing(*arguments: Any, **more: Any) -> Snapshot:
        made = compile_snapshot(*arguments, **more)
        pairs = [(url, r) for url, named in made.resources.items() for r in named.values() if url != CLUSTER]
        for resource in made.named(CLUSTER).values():
            packed = codec.message("google.protobuf.Any").FromString(resource.any)
            cluster: Any = codec.message("envoy.config.cluster.v3.Cluster").FromString(packed.value)  # type: ignore[attr-defined]
            cluster.connect_timeout.seconds = seconds[0]
            pairs.append(codec.resource(resource.name, cluster, resource.needs))
        return Snapshot.of(pairs, made.revision)

    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text, compiler=changing))
        _, trainer = await pair(mesh, sotw=sotw)
        http = await connected(trainer.upstream[UPSTREAM])
        stack.callback(http.close)
        for turn in range(5):
            seconds[0] += 1
            mesh.fleet.apply(model_of(text + f"  expires: 2099-01-0{turn + 1}T00:00:00Z\n"))
            for _ in range(20):
                assert await http.get("/models/a") == 200
            async with asyncio.timeout(30):
                assert await mesh.fleet.wait_synced(mesh.fleet.revision)
        stats = await trainer.stats()

    assert stats["cluster_manager.cluster_modified"] >= 5
    assert stats["cluster_manager.warming_clusters"] == 0
    assert not any(value for name, value in stats.items() if "init_fetch_timeout" in name)


@variants
async def test_a_refusal_leads_to_the_document_and_the_good_part_is_live(tmp_path: Path, *, sotw: bool) -> None:
    """Two ports on one address: one listener is refused, the other serves, and the operator reads the line."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        port = free_port()
        await mesh.envoy("shared/registry", inbound={"http": port, "metrics": port}, state_of_the_world=sotw)
        row = await until(lambda: next((r for r in mesh.fleet.list_proxies() if r.state == "NACK"), None))
        http = await asyncio.wait_for(_allowed(mesh, port), 30)
        stack.callback(http.close)
        assert await http.get("/models/a") == 200

    assert row.detail.startswith("intent.yaml:"), row.detail
    assert "inbound/" in row.detail


async def _allowed(mesh: Mesh, port: int) -> Http:
    context = mesh.client("/ns/team-a/sa/trainer")
    while True:
        try:
            return await Http.connect(port, context)
        except OSError:
            await asyncio.sleep(0.02)


@variants
async def test_a_restarted_server_disturbs_no_traffic(tmp_path: Path, *, sotw: bool) -> None:
    """Proxies go on without it; the new one knows the endpoints before their proxies are back."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        _, trainer = await pair(mesh, sotw=sotw)
        http = await connected(trainer.upstream[UPSTREAM])
        stack.callback(http.close)
        await mesh.fleet._offers.journal.flush()
        await mesh.lane.close()
        assert await http.get("/models/a") == 200

        await mesh.start(text)
        while len(mesh.fleet) < 2 or [row.state for row in mesh.fleet.list_proxies()] != ["SYNCED"] * 2:
            assert await http.get("/models/a") == 200
        for _ in range(50):
            assert await http.get("/models/a") == 200
        stats = await trainer.stats()

    assert (
        stats["cluster.outbound/registry_shared/http.update_empty" if False else "cluster_manager.cluster_removed"] == 0
    )
