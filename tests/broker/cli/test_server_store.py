"""`ringfence server validate, migrate, backup, restore`, and a server on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.store import connect
from ringfence.broker.store.migrate import HEAD
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import server_process
from tests.ports import free_port
from tests.postgres import PASSWORD, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def read(path: Path) -> str:
    """All of it."""
    return path.read_text(encoding="utf-8")


def lose(folder: Path, pattern: str) -> None:
    """What is deleted by mistake."""
    for path in folder.glob(pattern):
        path.unlink()


async def recorded(where: tuple[str | Path, ...], action: str) -> list[str]:
    """What the audit log, which must verify, says came of that action: the words before any reason."""
    assert (await ringfence("audit", "verify", *where)).code == 0
    shown = await ringfence("audit", "show", *where, "--action", action, "-o", "json")
    return [record["result"].partition(":")[0] for record in shown.json["items"]]


async def test_a_lost_database_comes_back_from_a_backup(tmp_path: Path) -> None:
    """Backed up while it served, put back once it has ended; the authority and the entry are as they were."""
    where: tuple[str | Path, ...] = ("--data-dir", tmp_path / "server")
    async with server_process(tmp_path, port=free_port(), http_port=free_port()) as server:
        made = await server.create_entry("spiffe://example.org/ns/a/sa/b", "unix:uid:1")
        before = await server.bundle()
        taken = await ringfence("server", "backup", tmp_path / "b", *where, "-o", "json")
        assert (taken.code, taken.json["keys"]) == (0, False)
        running = await ringfence("server", "restore", tmp_path / "b", *where)
        assert running.code == 1
        migrating = await ringfence("server", "migrate", *where)
        assert (migrating.code, "another server" in migrating.err) == (1, True)
    lose(tmp_path / "server", "ringfence.sqlite3*")
    restored = await ringfence("server", "restore", tmp_path / "b", *where, "-o", "json")
    assert (restored.code, restored.json["entries"]) == (0, 1)
    refused = await ringfence("server", "restore", tmp_path / "b", *where)
    assert (refused.code, "a database already" in refused.err) == (1, True)
    assert await recorded(where, "store.restore") == ["begun", "ok", "begun", "failed"]
    async with server_process(tmp_path, port=free_port(), http_port=free_port()) as server:
        listed = await ringfence("entry", "list", *where, "-o", "json")
        assert [entry["id"] for entry in listed.json["items"]] == [made.id]
        after = await server.bundle()
    assert after.x509_authorities == before.x509_authorities
    assert after.sequence > before.sequence


async def test_lost_keys_are_made_anew(tmp_path: Path) -> None:
    """With `--new-authority` there is another one, and its bundle is newer than any that was seen."""
    where: tuple[str | Path, ...] = ("--data-dir", tmp_path / "server")
    async with server_process(tmp_path, port=free_port(), http_port=free_port()) as server:
        before = await server.bundle()
        await ringfence("server", "backup", tmp_path / "b", *where)
    lose(tmp_path / "server", "ringfence.sqlite3*")
    lose(tmp_path / "server" / "keys", "*")
    assert (await ringfence("server", "restore", tmp_path / "b", *where, "--new-authority")).code == 0
    async with server_process(tmp_path, port=free_port(), http_port=free_port()) as server:
        after = await server.bundle()
    assert not set(after.x509_authorities) & set(before.x509_authorities)
    assert after.sequence > before.sequence
    assert await recorded(where, "authority.create") == ["ok", "ok"]


async def test_a_start_is_judged_before_it_is_tried(tmp_path: Path) -> None:
    """0 and what will be done; 3 and what is wrong; 4 for options that mean nothing."""
    run = ("--trust-domain", "example.org", "--data-dir", tmp_path / "d", "--listen", "127.0.0.1:0")
    fine = await ringfence("server", "validate", *run, "-o", "json")
    assert (fine.code, {check["ok"] for check in fine.json["items"]}) == (0, {True})
    assert (await ringfence("server", "migrate", "--data-dir", tmp_path / "d", "-o", "json")).json["schema"] == HEAD
    url = "postgresql://me:hunter2@127.0.0.1:1/d"
    wrong = await ringfence("server", "validate", *run, "-o", "json", RINGFENCE_DATABASE=url)
    assert (wrong.code, [check["check"] for check in wrong.json["items"] if not check["ok"]]) == (3, ["database"])
    nothing = await ringfence("server", "validate", *run, RINGFENCE_DATABASE="hunter2")
    assert nothing.code == 4
    other = await ringfence("server", "backup", tmp_path / "b", "--data-dir", tmp_path / "d", RINGFENCE_DATABASE=url)
    assert (other.code, "pg_dump" in other.err) == (1, True)
    assert "hunter2" not in wrong.out + wrong.err + nothing.err + other.err


@pytest.mark.postgres
async def test_a_server_keeps_its_state_in_postgresql(
    tmp_path: Path, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries and authority outlive it; nobody else has its database meanwhile; its password is in no line of a log."""
    monkeypatch.setattr(connect, "BUSY_SECONDS", 0.5)  # for the commands, which run in this process
    with postgres.database() as url:
        with postgres.admin() as admin:
            admin.execute(f"alter database {url.split('/')[3].partition('?')[0]} owner to guarded")
        secret = url.replace("postgres@", f"guarded:{PASSWORD}@")
        arguments = ("--database", secret, "--log-level", "debug")
        async with server_process(tmp_path, port=free_port(), http_port=free_port(), arguments=arguments) as server:
            made = await server.create_entry("spiffe://example.org/ns/a/sa/b", "unix:uid:1")
            before = await server.bundle()
            run = ("--trust-domain", "example.org", "--data-dir", tmp_path / "other", "--listen", "127.0.0.1:0")
            second = await ringfence("server", "migrate", *run[2:4], "--database", secret)
            assert (second.code, "another server holds" in second.err) == (1, True)
            judged = await ringfence("server", "validate", *run, "-o", "json", RINGFENCE_DATABASE=secret)
            assert judged.code == 0
            assert f"schema {HEAD}, 1 entries" in judged.out
        async with server_process(tmp_path, port=free_port(), http_port=free_port(), arguments=arguments) as server:
            assert await server.bundle() == before
            listed = await ringfence("entry", "list", "--data-dir", server.data_dir, "-o", "json")
            assert [entry["id"] for entry in listed.json["items"]] == [made.id]
        assert PASSWORD not in read(tmp_path / "server.log") + second.err + judged.out + judged.err
        assert not (tmp_path / "server" / "ringfence.sqlite3").exists()
