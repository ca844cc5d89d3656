"""What a Traffic document does to gRPC calls between real Envoys: statuses that are tried again, health by service."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.e2e.mesh import Envoy, Mesh, model_of, running_mesh, until
from tests.e2e.replicas import INTENT
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

GRPC = INTENT.replace("protocol: http", "protocol: grpc")
METHOD, CHECK = "/models.Models/Infer", "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse


class App(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Answers with its name, or with a status; by `health` to health checks."""

    def __init__(self, name: str) -> None:
        self.name, self.code, self.health = name, grpc.StatusCode.OK, SERVING
        self.asked: Counter[str] = Counter()

    def service(self, handler_call_details: Any) -> Any:
        """Any method, by bytes."""
        method = handler_call_details.method

        async def answer(_: bytes, context: Any) -> bytes:
            self.asked[method] += 1
            if method == CHECK:
                return self.health
            if self.code is not grpc.StatusCode.OK:
                await context.abort(self.code, "not now")
            return self.name.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def traffic(fields: str) -> str:
    """The intent with a Traffic document for the port."""
    return (
        f"{GRPC}---\nkind: Traffic\nmetadata: {{name: web, namespace: a}}\nspec: {{to: {{workload: web}}, {fields}}}\n"
    )


class World:
    """Two replicas and a caller."""

    def __init__(self, mesh: Mesh, stack: AsyncExitStack) -> None:
        self.mesh, self.stack, self.apps = mesh, stack, [App("a"), App("b")]
        self.caller: Envoy | None = None

    async def start(self) -> None:
        """Every server and proxy."""
        for app in self.apps:
            await self.mesh.envoy("a/web", inbound={"http": free_port()}, node=app.name)
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((app,))
            server.add_insecure_port(f"unix:{self.mesh.folder / f'web-{app.name}' / 'web.sock'}")
            await server.start()
            self.stack.push_async_callback(server.stop, None)
        port = free_port()
        self.caller = await self.mesh.envoy("a/client", upstream={"web.a/http": port})
        await until(lambda: len(self.mesh.fleet) == 3)
        self.channel = await self.stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

    async def apply(self, text: str) -> None:
        """Put an intent in force everywhere."""
        model = model_of(text)
        self.mesh.fleet.apply(model)
        await self.mesh.fleet.wait_synced(model.revision)

    async def infer(self) -> str:
        """Who answered, or how the call ended."""
        try:
            answer: bytes = await self.channel.unary_unary(METHOD)(b"", timeout=30, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return answer.decode()

    async def said(self, calls: int) -> set[str]:
        """What so many calls came to."""
        return {await self.infer() for _ in range(calls)}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Up, with every replica known to the caller."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        async with AsyncExitStack() as stack, running_mesh(Path(folder), GRPC) as mesh:
            world = World(mesh, stack)
            await world.start()
            await until_said(world, {"a", "b"})
            yield world


async def until_said(world: World, expected: set[str]) -> None:
    """Ask until a few calls in a row come to exactly that."""
    for _ in range(200):
        if await world.said(8) == expected:
            return
    raise AssertionError(expected)


async def test_unavailable_is_tried_again_where_that_is_said(world: World) -> None:
    """By the status in the trailers; another status is the caller's to see."""
    world.apps[0].code = grpc.StatusCode.UNAVAILABLE
    assert await world.said(20) == {"UNAVAILABLE", "b"}
    await world.apply(traffic("retries: {attempts: 3, on: [unavailable]}"))
    assert await world.said(40) == {"b"}
    assert world.apps[0].asked[METHOD] > 10
    world.apps[0].code = grpc.StatusCode.INTERNAL
    assert await world.said(20) == {"INTERNAL", "b"}


async def test_a_replica_whose_service_is_not_serving_gets_nothing(world: World) -> None:
    """Asked by grpc.health.v1 over mutual TLS, as a caller's own request."""
    world.apps[0].health = NOT_SERVING
    await world.apply(traffic("healthCheck: {grpc: models.Models, interval: 100ms, unhealthyThreshold: 1}"))
    await until_said(world, {"b"})
    world.apps[0].health = SERVING
    await until_said(world, {"a", "b"})
    assert world.apps[0].asked[CHECK] > 1
