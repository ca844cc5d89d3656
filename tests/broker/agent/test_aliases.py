"""Node aliases: entries for the nodes of which something was proved."""

from __future__ import annotations

from pathlib import Path

from ringfence.broker.agent.daemon import Agent
from tests.broker.agent.harness import OWN_UID, first_svids, running_agent
from tests.broker.agent.test_x509pop import Factory, _until, factory
from tests.broker.server.harness import running_server

__all__ = ["factory"]
ALIAS = "spiffe://example.org/nodes/gpu"
SERVER = "spiffe://example.org/ringfence/server"


def _entries(agent: Agent | None) -> int:
    assert agent is not None
    assert agent.watches is not None
    return len(agent.watches.cache.book)


async def test_entries_of_an_alias_reach_the_nodes_it_names_and_leave_with_it(
    tmp_path: Path,
    factory: Factory,
) -> None:
    """By push, both ways; a node that joined by token has none of them."""
    (tmp_path / "other").mkdir()
    async with (
        running_server(tmp_path, x509pop_ca=(factory.ca,)) as server,
        running_agent(tmp_path, server, **factory.proof(server)) as named,
        running_agent(tmp_path / "other", server) as other,
    ):
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID, parent_id=ALIAS)
        alias = await server.create_entry(ALIAS, "x509pop:subject:cn:gpu-7", parent_id=SERVER)
        assert (await first_svids(named.socket)).svids[0].spiffe_id == "spiffe://example.org/ns/a/sa/w"
        assert _entries(other.agent) == 0
        await server.delete_entry(alias.id)
        await _until(lambda: _entries(named.agent) == 0)
