"""Real Envoys: what is live there is what we think that we sent, and where it is not, we say so."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ringfence.broker.cli.proxy_diff import differences_of
from ringfence.broker.fleet.dump import dumped
from tests.e2e.mesh import Envoy, Mesh, application, model_of, running_mesh, until
from tests.e2e.test_fleet_envoy import INTENT, UPSTREAM, pair, synced, variants
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


async def differing(mesh: Mesh, proxy: Envoy, node: str) -> list[tuple[str, str, str]]:
    """What `ringfence proxy diff` prints of it."""
    (sent,) = dumped(mesh.fleet.connected, node)
    assert len(sent.resources) >= 3
    rows = await asyncio.to_thread(differences_of, sent, proxy.admin)
    return [(row["type"], row["name"], row["difference"]) for row in rows]


@variants
async def test_what_is_live_is_what_was_sent(tmp_path: Path, *, sotw: bool) -> None:
    """At both ends of a call, before and after a change: listeners, clusters, routes, endpoints and policies."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        registry, trainer = await pair(mesh, sotw=sotw)
        assert await differing(mesh, registry, "shared/registry/1") == []
        assert await differing(mesh, trainer, "team-a/trainer/1") == []

        mesh.fleet.apply(model_of(text.replace("/models/**", "/other")))
        await synced(mesh)
        assert await differing(mesh, registry, "shared/registry/1") == []


@variants
async def test_a_refused_resource_is_the_one_difference_and_the_rest_of_its_response_is_live(
    tmp_path: Path, *, sotw: bool
) -> None:
    """Two ports on one address: a response that was refused may be applied in part, and the dump tells which."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        port = free_port()
        proxy = await mesh.envoy("shared/registry", inbound={"http": port, "metrics": port}, state_of_the_world=sotw)
        await until(lambda: [row.state for row in mesh.fleet.list_proxies()] == ["NACK"])

        async def one() -> list[tuple[str, str, str]]:
            while len(found := await differing(mesh, proxy, "shared/registry/1")) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # what another process does sets no event of ours
            return found

        ((kind, name, text),) = await asyncio.wait_for(one(), 30)

    assert (kind, name.partition("/")[0]) == ("listener", "inbound")
    assert text == "refused; the proxy does not hold it"


async def test_another_proxys_dump_is_all_differences(tmp_path: Path) -> None:
    """A comparison that could not fail would prove nothing."""
    async with AsyncExitStack() as stack:
        text = INTENT.replace("APP", str(await application(stack)))
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        _, trainer = await pair(mesh, sotw=False)
        found = await differing(mesh, trainer, "shared/registry/1")

    assert ("listener", "inbound/http", "the proxy does not hold it") in found
    assert ("cluster", f"outbound/{UPSTREAM}", "the proxy holds it, and was not sent it") in found
