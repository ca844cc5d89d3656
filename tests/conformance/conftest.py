"""What tests of the agent's sockets share: a server, its agent, a client, and where brokers are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.proto.client import Client
from tests.broker.agent.harness import AgentUnderTest, running_agent, workload_client
from tests.broker.broker_api.harness import broker_socket
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.ports import free_port


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
def hold() -> float:
    """Seconds for which the agent holds a caller without identity: longer than any push; tests of refusals say less."""
    return 20.0


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest, hold: float) -> AsyncIterator[AgentUnderTest]:
    """Its agent."""
    async with running_agent(tmp_path, server, hold=hold) as running:
        yield running


@pytest.fixture
async def client(agent: AgentUnderTest) -> AsyncIterator[Client]:
    """A client on one connection."""
    async with workload_client(agent.socket) as made:
        yield made


@pytest.fixture
def port() -> int:
    """Where the agent serves brokers over TCP."""
    return free_port()


@pytest.fixture
def socket(tmp_path: Path, agent: AgentUnderTest) -> Path:
    """Where it serves them by a Unix socket."""
    assert agent.agent is not None
    return broker_socket(tmp_path)
