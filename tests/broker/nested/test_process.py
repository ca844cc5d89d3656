"""The real command below another server: told by its options, and what it says when nobody is above."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.broker.nested.tiers import BELOW, tier
from tests.broker.server.harness import server_process
from tests.e2e.command import ringfence
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


async def test_a_server_with_keys_in_memory_comes_back_under_the_same_root(tmp_path: Path) -> None:
    """A restart gives it another authority, and whoever trusts the root has nothing to learn."""
    await asyncio.to_thread((tmp_path / "below").mkdir)
    async with tier(tmp_path / "above") as above:
        options = (
            *("--upstream-server", above.server.address, "--upstream-socket", f"unix://{above.agent.socket}"),
            *("--upstream-spiffe-id", BELOW, "--key-manager", "memory"),
        )
        root = (await above.server.bundle()).x509_authorities
        keys = []
        for _ in range(2):
            async with server_process(
                tmp_path / "below", port=free_port(), http_port=free_port(), arguments=options
            ) as below:
                assert (await below.bundle()).x509_authorities == root
                keys.append(set((await below.bundle()).jwt_authorities))
        assert keys[0] != keys[1]


async def test_without_an_agent_of_the_server_above_it_does_not_start_and_says_so(tmp_path: Path) -> None:
    """Rather than begin as a root that nobody asked for."""
    done = await ringfence(
        *("server", "run", "--trust-domain", "example.org", "--data-dir", tmp_path / "server"),
        *("--listen", "127.0.0.1:0", "--upstream-server", "127.0.0.1:1"),
        *("--upstream-socket", tmp_path / "nobody.sock"),
    )
    assert done.code
    assert "nobody.sock" in done.err
    assert not (tmp_path / "server" / "bundle.pem").exists()
