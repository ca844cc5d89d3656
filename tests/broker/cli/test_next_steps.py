"""What an operator who did something wrong is told: what failed, where, and what to do about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.e2e
ID = "spiffe://example.org/ns/a/sa/w"


async def test_no_agent_at_the_socket(tmp_path: Path) -> None:
    """The command names the path, and what would serve there."""
    done = await ringfence("svid", "fetch", "x509", "--socket", tmp_path / "none.sock")
    assert (done.code, f"{tmp_path}/none.sock" in done.err, "`ringfence agent run`" in done.err) == (1, True, True)


async def test_no_server_at_the_address(tmp_path: Path) -> None:
    """The system's own words, without the layers that grpc puts around them."""
    for name in ("svid.pem", "key.pem", "bundle.pem"):
        await asyncio.to_thread((tmp_path / name).write_bytes, b"")
    done = await ringfence("entry", "list", "--server", "127.0.0.1:1", "--svid-dir", tmp_path)
    assert (done.code, done.err[:34]) == (1, "Error: 127.0.0.1:1: no answer (Con")


async def test_a_process_without_an_identity(tmp_path: Path) -> None:
    """It waits as long as it was told to, ends as a timeout does, and names the command that explains."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        done = await ringfence("svid", "fetch", "x509", "--socket", agent.socket, "--timeout", "0.2")
    assert (done.code, "in time" in done.err, "ringfence entry explain" in done.err) == (6, True, True)


async def test_an_identity_that_was_revoked(tmp_path: Path) -> None:
    """To register it once more would not help."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry(ID, OWN_UID)
        await ringfence("svid", "fetch", "x509", "--socket", agent.socket)
        await ringfence("identity", "revoke", ID, "--data-dir", server.data_dir)
        done = await ringfence("svid", "fetch", "x509", "--socket", agent.socket)
    assert (done.code, "ringfence identity lift" in done.err, "entry create" in done.err) == (5, True, False)


async def test_a_trial_names_no_day(tmp_path: Path) -> None:
    """What a dry run shows was not created, in 1970 least of all."""
    create = ("entry", "create", "--spiffe-id", ID, "--selector", "unix:uid:1", "--dry-run", "-o", "json")
    async with running_server(tmp_path) as server:
        done = await ringfence(*create, "--data-dir", server.data_dir)
    assert done.json["createdAt"] == ""


async def test_a_file_that_is_no_bundle(tmp_path: Path) -> None:
    """The file is named, and the command that writes one."""
    file = tmp_path / "b.json"
    await asyncio.to_thread(file.write_text, "{")
    async with running_server(tmp_path) as server:
        done = await ringfence("bundle", "set", "b.test", file, "--data-dir", server.data_dir)
    assert (done.code, str(file) in done.err, "bundle show --format spiffe" in done.err) == (4, True, True)
