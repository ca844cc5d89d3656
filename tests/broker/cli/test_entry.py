"""`ringfence entry`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.e2e
CREATE = ("entry", "create", "--spiffe-id", "spiffe://example.org/ns/a/sa/b", "--selector", "unix:uid:1000")


async def test_create_is_idempotent_and_scriptable(tmp_path: Path) -> None:
    """Created, then unchanged, both exit 0; `-o name` prints the id for the next command."""
    async with running_server(tmp_path) as server:
        env = {"RINGFENCE_ADMIN_SOCKET": str(server.admin_socket)}
        first = await ringfence(*CREATE, "--ttl", "2h", "--dns", "b.example", "-o", "json", **env)
        second = await ringfence(*CREATE, "--ttl", "2h", "--dns", "b.example", "-o", "json", **env)
        assert (first.code, second.code) == (0, 0)
        assert (first.json["action"], second.json["action"]) == ("created", "unchanged")
        assert first.json["id"] == second.json["id"]
        assert (first.json["x509Ttl"], first.json["dnsNames"]) == (7200, ["b.example"])
        assert first.json["parentId"] == "spiffe://example.org/ringfence/nodes"


async def test_another_ttl_is_refused_with_the_next_step(tmp_path: Path) -> None:
    """Exit 1, on standard error, with the command that helps."""
    async with running_server(tmp_path) as server:
        await ringfence(*CREATE, "--data-dir", server.data_dir)
        done = await ringfence(*CREATE, "--ttl", "5m", "--data-dir", server.data_dir)
        assert done.code == 1
        assert not done.out
        assert "ringfence entry delete" in done.err


async def test_list_show_and_delete(tmp_path: Path) -> None:
    """An empty list is an empty list; a deleted entry is not found."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        assert (await ringfence("entry", "list", *where, "-o", "json")).json["items"] == []
        entry_id = (await ringfence(*CREATE, *where, "-o", "name")).out.strip()
        listed = await ringfence("entry", "list", *where)
        assert listed.out.splitlines()[0].split()[0] == "ID"
        assert entry_id in listed.out
        assert (await ringfence("entry", "show", entry_id, *where, "-o", "json")).json["id"] == entry_id
        deleted = await ringfence("entry", "delete", entry_id, "none", *where, "-o", "json")
        assert [item["action"] for item in deleted.json["items"]] == ["deleted", "unchanged"]
        gone = await ringfence("entry", "show", entry_id, *where)
        assert (gone.code, gone.out) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--spiffe-id", "nonsense", "--selector", "unix:uid:1"), 4, "no SPIFFE ID"),
        (("--spiffe-id", "spiffe://example.org/a", "--selector", "unix:shoe:1"), 4, "uid"),
        (("--spiffe-id", "spiffe://example.org/a"), 2, "--selector"),
        (("--spiffe-id", "spiffe://example.org/a", "--selector", "unix:uid:1", "--ttl", "soon"), 2, "duration"),
    ],
)
async def test_bad_input_has_its_exit_code(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """2 for bad usage, 4 for what does not validate."""
    async with running_server(tmp_path) as server:
        done = await ringfence("entry", "create", *arguments, "--admin-socket", server.admin_socket)
        assert done.code == code
        assert says in done.err


async def test_no_server_is_said_in_words(tmp_path: Path) -> None:
    """Not named is bad usage; named and not there is a failure with the next step."""
    unnamed = await ringfence("entry", "list")
    absent = await ringfence("entry", "list", "--data-dir", tmp_path)
    assert (unnamed.code, absent.code) == (2, 1)
    assert "RINGFENCE_ADMIN_SOCKET" in unnamed.err
    assert "ringfence server run" in absent.err
