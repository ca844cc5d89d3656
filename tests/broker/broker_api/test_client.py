"""`ringfence svid fetch-for`: a broker on the command line, which is served only by the agent that it expects."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.broker.broker_api.client import fetch_x509_for
from ringfence.certs.broker_address import BrokerAddress
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent, wait_for_entries
from tests.broker.broker_api.harness import PROXY, broker_config, broker_socket, workload
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.ports import free_port

STRANGER = "spiffe://example.org/somebody"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerUnderTest]:
    """A server."""
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
def port() -> int:
    """Where the agent serves brokers over TCP."""
    return free_port()


@pytest.fixture
async def agent(tmp_path: Path, server: ServerUnderTest, port: int) -> AsyncIterator[AgentUnderTest]:
    """Its agent."""
    async with running_agent(tmp_path, server, broker=broker_config(tmp_path, port=port)) as up:
        wait_for_entries(server, up)
        yield up


def id_of(agent: AgentUnderTest) -> SpiffeId:
    """The agent's own."""
    assert agent.agent is not None
    return agent.agent._node.identity.svid.spiffe_id


async def test_it_prints_what_the_other_process_is(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest
) -> None:
    """We are a listed broker by our own SVID; keys are not on the screen."""
    await server.create_entry(PROXY, OWN_UID)
    words = ("--broker-api", f"unix://{broker_socket(tmp_path)}", "--agent-id", str(id_of(agent)))
    async with workload() as process:
        done = await ringfence("svid", "fetch-for", str(process.pid), *words, "--socket", agent.socket, "-o", "name")
    assert done.code == 0, done.err
    assert PROXY in done.out.splitlines()  # the server logs to the same output
    assert "PRIVATE KEY" not in done.out


async def _refused(agent: AgentUnderTest, at: BrokerAddress, expected: SpiffeId, pid: int = 0) -> Kind:
    with pytest.raises(RingfenceError) as caught:
        await fetch_x509_for(pid or os.getpid(), at, expected, str(agent.socket), 30)
    return caught.value.kind


async def test_another_agent_than_the_expected_is_told_nothing(
    tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest, port: int
) -> None:
    """A good SVID of our own trust domain is not enough, by socket or by TCP."""
    await server.create_entry(PROXY, OWN_UID)
    for at in (BrokerAddress(path=str(broker_socket(tmp_path))), BrokerAddress(host="127.0.0.1", port=port)):
        assert await _refused(agent, at, SpiffeId.parse(STRANGER)) is Kind.UNAUTHENTICATED
    foreign = SpiffeId.parse("spiffe://b.test/agent")
    assert await _refused(agent, at, foreign) is Kind.UNAUTHENTICATED


async def test_what_the_agent_says_is_said(tmp_path: Path, server: ServerUnderTest, agent: AgentUnderTest) -> None:
    """No broker of it; no such process; nobody there."""
    at = BrokerAddress(path=str(broker_socket(tmp_path)))
    entry = await server.create_entry(STRANGER, OWN_UID)
    assert await _refused(agent, at, id_of(agent)) is Kind.DENIED
    await server.delete_entry(entry.id)
    await server.create_entry(PROXY, OWN_UID)
    assert await _refused(agent, at, id_of(agent), 2**31 - 1) is Kind.NOT_FOUND
    assert await _refused(agent, BrokerAddress(path=str(tmp_path / "none")), id_of(agent)) is Kind.UNAVAILABLE
