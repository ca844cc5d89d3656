"""WIT-SVIDs through go-spiffe's client: another implementation of the standard, in another language."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests import parts
from tests.broker.agent.harness import OWN_UID, AgentUnderTest, running_agent, wait_for_entries
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.peer

ON = frozenset({"wit-svid"})
ID, OTHER = "spiffe://example.org/ns/a/sa/w", "spiffe://example.org/ns/a/sa/v"


async def asked(agent: AgentUnderTest, *arguments: str) -> tuple[Any, str]:
    """What go-spiffe makes of the agent's answers, or why nothing."""
    program = parts.built("go-spiffe-wit")
    process = await asyncio.create_subprocess_exec(
        program,
        f"unix://{agent.socket}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return (json.loads(out) if out else None), error.decode()


async def test_1_4_6_go_spiffe_takes_token_key_and_bundle(tmp_path: Path) -> None:
    """Each token validates by the WIT bundle, and its key proves what it names; one may be asked for."""
    async with running_server(tmp_path, features=ON) as server, running_agent(tmp_path, server, features=ON) as agent:
        wait_for_entries(server, agent)
        await server.create_entry(ID, OWN_UID, hint="main")
        await server.create_entry(OTHER, OWN_UID)
        kid = server.parts.trust.authority.wit_key().kid
        found, error = await asked(agent)
        assert not error
        assert {each["id"]: each["hint"] for each in found} == {ID: "main", OTHER: ""}
        assert all(each["proved"] and each["kid"] == kid for each in found)
        assert [each["id"] for each in (await asked(agent, OTHER))[0]] == [OTHER]


async def test_1_6_14_go_spiffe_is_told_that_there_are_none(tmp_path: Path) -> None:
    """UNIMPLEMENTED, upon which it does not come back."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        assert "Unimplemented" in (await asked(agent))[1]
