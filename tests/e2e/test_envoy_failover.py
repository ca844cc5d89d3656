"""A real Envoy that was told two servers, when the one that it uses goes away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.mesh import running_mesh, until
from tests.e2e.test_fleet_envoy import INTENT, UPSTREAM, connected, synced, variants
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]


@variants
async def test_a_proxy_goes_on_with_the_other_server(tmp_path: Path, *, sotw: bool) -> None:
    """All its streams are with one; when that one is gone the other has them, and its listeners never went away."""
    text = INTENT.replace("APP", "8080")
    async with AsyncExitStack() as stack:
        folders = [tmp_path / name for name in "ab"]
        for folder in folders:
            await asyncio.to_thread(folder.mkdir)
        second = await stack.enter_async_context(running_mesh(folders[1], text))
        others = (f"127.0.0.1:{second.port}",)
        first = await stack.enter_async_context(running_mesh(folders[0], text, domain=second.domain, others=others))
        trainer = await first.envoy("team-a/trainer", upstream={UPSTREAM: free_port()}, state_of_the_world=sotw)
        await until(lambda: len(first.fleet) == 1)
        await synced(first)
        stack.callback((await connected(trainer.upstream[UPSTREAM])).close)
        assert len(second.fleet) == 0
        await first.lane.close()
        await until(lambda: len(second.fleet) == 1)
        await synced(second)
        stack.callback((await connected(trainer.upstream[UPSTREAM])).close)


async def test_a_proxy_starts_while_the_first_server_is_away(tmp_path: Path) -> None:
    """Nobody listens where its agent was a moment ago."""
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running_mesh(tmp_path, INTENT.replace("APP", "8080")))
        mesh.others, living = (f"127.0.0.1:{mesh.port}",), mesh.port
        mesh.port = free_port()
        trainer = await mesh.envoy("team-a/trainer", upstream={UPSTREAM: free_port()})
        mesh.port = living
        await until(lambda: len(mesh.fleet) == 1)
        stack.callback((await connected(trainer.upstream[UPSTREAM])).close)
