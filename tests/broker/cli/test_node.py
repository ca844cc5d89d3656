"""`ringfence node`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server
from tests.broker.server.node import joined

pytestmark = pytest.mark.e2e


async def test_a_node_is_listed_shown_counted_banned_and_evicted(tmp_path: Path) -> None:
    """What each command prints is what the next one takes."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        assert (await ringfence("node", "list", *where, "-o", "json")).json["items"] == []
        node = await joined(server)
        listed = await ringfence("node", "list", *where)
        assert listed.out.splitlines()[0].split()[0] == "SPIFFE"
        name = (await ringfence("node", "list", *where, "-o", "name")).out.strip()
        assert name == node.spiffe_id
        shown = (await ringfence("node", "show", name, *where, "-o", "json")).json
        assert (shown["state"], shown["attestor"]) == ("away", "join_token")
        banned = await ringfence("node", "ban", name, "--reason", "laptop lost", *where, "-o", "json")
        assert banned.json["items"] == [{"spiffeId": name, "action": "banned", "streams": 0}]
        assert "laptop lost" in (await ringfence("node", "list", *where)).out
        assert (await ringfence("node", "show", name, *where, "-o", "json")).json["reason"] == "laptop lost"
        assert (await ringfence("node", "list", "--banned", *where, "-o", "name")).out.strip() == name
        assert (await ringfence("node", "count", *where, "-o", "json")).json == {
            "nodes": 1,
            "connected": 0,
            "away": 0,
            "banned": 1,
        }
        assert (await ringfence("node", "unban", name, *where, "-o", "json")).json["items"][0]["action"] == "unbanned"
        assert (await ringfence("node", "evict", name, *where, "-o", "json")).json["items"][0]["action"] == "evicted"
        assert (await ringfence("node", "list", *where, "-o", "name")).out == ""


async def test_what_names_no_node_has_its_exit_code(tmp_path: Path) -> None:
    """4 for what is no node's name, 1 for one that is not there, with the next step."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        bad = await ringfence("node", "ban", "spiffe://example.org/ns/a/sa/b", *where)
        absent = await ringfence("node", "show", "spiffe://example.org/ringfence/agent/join_token/a", *where)
        assert (bad.code, absent.code) == (4, 1)
        assert "ringfence node list" in absent.err
