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


async def test_entries_are_deleted_by_a_file_of_their_ids(tmp_path: Path) -> None:
    """What a list prints by name, one call for all of it; an empty file deletes nothing, and no file is no wish."""
    ids = tmp_path / "ids"
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        for number in range(3):
            await ringfence(*CREATE, "--selector", f"unix:gid:{number}", *where)
        ids.write_text((await ringfence("entry", "list", *where, "-o", "name")).out, encoding="utf-8")
        tried = await ringfence("entry", "delete", "none", "--file", ids, "--dry-run", *where, "-o", "json")
        assert [item["action"] for item in tried.json["items"]] == ["unchanged", *["deleted"] * 3]
        deleted = await ringfence("entry", "delete", "--file", ids, *where, "-o", "name")
        assert deleted.out.split() == ids.read_text(encoding="utf-8").split()
        assert (await ringfence("entry", "list", *where, "-o", "json")).json["items"] == []
        ids.write_text("\n", encoding="utf-8")
        assert (await ringfence("entry", "delete", "--file", ids, *where, "-o", "json")).json["items"] == []
        assert "--file" in (await ringfence("entry", "delete", *where)).err


async def test_every_field_can_be_given_changed_and_seen(tmp_path: Path) -> None:
    """What is not named stays; a list is replaced as a whole, or emptied."""
    fields = ("--hint", "web", "--federates-with", "b.org", "--expires-at", "2035-01-01T00:00:00Z", "--jwt-jti")
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket, "-o", "json")
        made = (await ringfence(*CREATE, *fields, "--admin", "--downstream", "--store-svid", *where)).json
        assert (made["hint"], made["federatesWith"], made["expiresAt"]) == ("web", ["b.org"], "2035-01-01T00:00:00Z")
        assert (made["admin"], made["downstream"], made["storeSvid"], made["jwtJti"]) == (True,) * 4
        change = ("--no-admin", "--expires-at", "never", "--ttl", "5m", "--clear", "federates_with")
        done = (await ringfence("entry", "update", made["id"], *change, "--dns", "a.b", *where)).json
        changed = {"admin": False, "expiresAt": "never", "x509Ttl": 300, "federatesWith": [], "dnsNames": ["a.b"]}
        assert done == {**made, **changed, "revision": made["revision"] + 1, "action": "updated"}
        again = await ringfence("entry", "update", made["id"], "--no-admin", *where)
        assert again.json["action"] == "unchanged"


async def test_entries_are_filtered_and_counted(tmp_path: Path) -> None:
    """The same filters for both."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        made = (await ringfence(*CREATE, "--hint", "web", "--expires-at", "1h", *where, "-o", "name")).out.strip()
        rule = ("entry", "create", "--spiffe-id", "spiffe://example.org/ns/{k8s.ns}", *where)
        assert (await ringfence(*rule)).code == 0
        for filters in (("--hint", "web"), ("--selector", "unix:uid:1000"), ("--expires-before", "2h")):
            assert (await ringfence("entry", "list", *filters, *where, "-o", "name")).out.strip() == made
            assert (await ringfence("entry", "count", *filters, *where, "-o", "json")).json == {"count": 1}
        assert (await ringfence("entry", "count", "--origin", "api", *where, "-o", "name")).out == "2\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--spiffe-id", "nonsense", "--selector", "unix:uid:1"), 4, "no SPIFFE ID"),
        (("--spiffe-id", "spiffe://example.org/a", "--selector", "unix:shoe:1"), 4, "uid"),
        (("--spiffe-id", "spiffe://example.org/a"), 2, "--selector"),
        (("--spiffe-id", "spiffe://example.org/a", "--selector", "unix:uid:1", "--ttl", "soon"), 2, "duration"),
        (("--spiffe-id", "spiffe://example.org/a", "--selector", "unix:uid:1", "--expires-at", "soon"), 2, "no time"),
        (("--spiffe-id", "spiffe://example.org/a/{k8s.shoe}"), 4, "k8s:shoe"),
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
