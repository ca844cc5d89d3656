"""What tests of the Workload API's socket share: a server, its agent, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.proto.client import Client
from tests.broker.agent.harness import AgentUnderTest, running_agent, workload_client
from tests.broker.server.harness import ServerUnderTest, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest) -> AsyncIterator[AgentUnderTest]:
    """Its agent, which holds for half a second."""
    async with running_agent(tmp_path, server, hold=0.5) as running:
        yield running


@pytest.fixture
async def client(agent: AgentUnderTest) -> AsyncIterator[Client]:
    """A client on one connection."""
    async with workload_client(agent.socket) as made:
        yield made
