"""A real gRPC client without a proxy and servers in two zones: its own zone first, then the next."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ringfence.xds.locality import Locality
from tests.e2e.mesh import Mesh, model_of, running_mesh, until
from tests.e2e.proxyless import Library, library
from tests.e2e.test_grpc import INTENT, TARGET
from tests.ports import free_port

pytestmark = [pytest.mark.slow]

WHERE = "/pkg.Models/Where"
PREFER = """
---
kind: Traffic
metadata: {name: near, namespace: shared}
spec: {to: {workload: registry, port: rpc}, zones: {preferLocal: true}}
"""
NEAR, FAR = Locality("eu", "eu-1"), Locality("eu", "eu-2")
BOUND = 60.0  # seconds; gRPC gives a priority that cannot be connected to up to 10 of them before it takes the next


async def server(mesh: Mesh, port: int, locality: Locality) -> Library:
    """A registry that serves there."""
    made = await library(
        mesh, "shared/registry", inbound={"rpc": f"127.0.0.1:{port}"}, node=locality.zone, locality=locality
    )
    await made.do("serve", at=f"127.0.0.1:{port}", drain_ms=200)
    return made


async def asked(trainer: Library, times: int) -> set[str]:
    """The addresses of those that answered so many calls."""
    answers = [await trainer.do("call", target=f"xds:///{TARGET}", path=WHERE) for _ in range(times)]
    return set(answers)


async def both(trainer: Library, near: int, far: int) -> None:
    """Call until both have answered."""
    seen: set[str] = set()
    started = time.monotonic()
    while seen != {f"OK 127.0.0.1:{near}", f"OK 127.0.0.1:{far}"}:
        seen |= await asked(trainer, 1)
        assert time.monotonic() - started < BOUND, seen


async def test_a_client_without_a_proxy_calls_its_own_zone_and_the_next_when_that_is_gone(tmp_path: Path) -> None:
    """By the same Traffic document as proxies; without it all zones are one to it."""
    near, far = free_port(), free_port()
    text = INTENT.replace("APP", str(near))
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        registry = await server(mesh, near, NEAR)
        await server(mesh, far, FAR)
        await until(lambda: sum(bool(row.inbound) for row in mesh.fleet.list_proxies()) == 2)
        trainer = await library(mesh, "team-a/trainer", locality=NEAR)
        await both(trainer, near, far)

        mesh.fleet.apply(model_of(text + PREFER))
        started = time.monotonic()
        while await asked(trainer, 8) != {f"OK 127.0.0.1:{near}"}:
            assert time.monotonic() - started < BOUND
        assert await asked(trainer, 8) == {f"OK 127.0.0.1:{near}"}

        await registry.kill()
        started = time.monotonic()
        while await asked(trainer, 4) != {f"OK 127.0.0.1:{far}"}:
            assert time.monotonic() - started < BOUND
