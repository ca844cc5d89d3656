"""`ringfence entry apply`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.broker.cli.operator import Done, ringfence
from tests.broker.server.harness import ServerUnderTest, running_server

pytestmark = pytest.mark.e2e

YAML = """\
- spiffeId: /ns/a/sa/one
  selectors: [unix:uid:1000]
  x509Ttl: 2h
- spiffeId: spiffe://example.org/ns/a/sa/two
  selectors:
    - unix:uid:1001
  federatesWith: [b.org]
  expiresAt: 2035-01-01T00:00:00Z
  admin: true
"""


async def apply(server: ServerUnderTest, file: Path, text: str, *flags: str) -> Done:
    """`ringfence entry apply` of *text* in *file*."""
    await asyncio.to_thread(file.write_text, text, "utf-8")
    return await ringfence("entry", "apply", file, "--admin-socket", server.admin_socket, *flags)


def actions(done: Done) -> list[tuple[str, str]]:
    """The last segment of each identity, and what became of it."""
    assert done.code == 0, done.err
    return [(item["spiffeId"].rpartition("/")[2], item["action"]) for item in done.json["items"]]


async def test_a_file_is_applied_again_and_again(tmp_path: Path) -> None:
    """Created, then unchanged, then what differs is updated, and pruned only on demand."""
    file = tmp_path / "entries.yaml"
    async with running_server(tmp_path) as server:
        dry = await apply(server, file, YAML, "--dry-run", "-o", "json")
        assert actions(dry) == [("one", "created"), ("two", "created")]
        assert actions(await apply(server, file, YAML, "-o", "json")) == [("one", "created"), ("two", "created")]
        again = await apply(server, file, YAML)
        assert (again.code, again.out) == (0, "")
        assert "2 unchanged" in again.err
        less = YAML[: YAML.index("- spiffeId: spiffe")].replace("2h", "3h")
        assert actions(await apply(server, file, less, "-o", "json")) == [("one", "updated")]
        pruned = await apply(server, file, less, "--prune", "-o", "json")
        assert actions(pruned) == [("one", "unchanged"), ("two", "pruned")]


async def test_a_list_of_entries_is_a_file_of_entries(tmp_path: Path) -> None:
    """What `entry list -o json` (or yaml, or jsonl) prints is applied without a change, from standard input too."""
    async with running_server(tmp_path) as server:
        await apply(server, tmp_path / "e.yaml", YAML)
        rule = ("entry", "create", "--spiffe-id", "spiffe://example.org/ns/{k8s.ns}")
        assert (await ringfence(*rule, "--admin-socket", server.admin_socket)).code == 0
        for form in ("json", "yaml", "jsonl"):
            listed = await ringfence("entry", "list", "--admin-socket", server.admin_socket, "-o", form)
            done = await apply(server, tmp_path / "list", listed.out, "--prune", "-o", "json")
            assert [action for _, action in actions(done)] == ["unchanged"] * 3


async def test_every_error_is_said_with_file_and_line(tmp_path: Path) -> None:
    """And nothing of the file is done."""
    bad = """\
- spiffeId: /ns/a/sa/fine
  selectors: [unix:uid:1]
- spiffeId: /ns/a/sa/one
  selectors: [unix:shoe:1]
- spiffeId: /ns/a/sa/two
  selektors: [unix:uid:1]
- selectors: [unix:uid:1]
- spiffeId: /ns/a/sa/four
  selectors: [unix:uid:1]
  x509Ttl: soon
- spiffeId: /ns/a/sa/fine
  selectors: [unix:uid:1]
- spiffeId: spiffe://other.org/x
  selectors: [unix:uid:1]
- 7
- spiffeId: /x
  selectors: [unix:uid:1]
  origin: team/a
"""
    file = tmp_path / "bad.yaml"
    async with running_server(tmp_path) as server:
        done = await apply(server, file, bad)
        assert done.code == 4
        for line, says in (
            (3, "shoe"),
            (6, "selektors"),
            (7, "spiffeId is missing"),
            (10, "x509Ttl"),
            (11, f"the same as {file}:1"),
            (13, "outside the trust domain"),
            (15, "no entry"),
            (18, "team/a"),
        ):
            assert any(f"{file}:{line}" in each and says in each for each in done.err.splitlines()), (line, done.err)
        listed = await ringfence("entry", "count", "--admin-socket", server.admin_socket, "-o", "name")
        assert listed.out == "0\n"


@pytest.mark.parametrize(("text", "code", "says"), [("[", 4, ":1"), ("[]", 2, "--prune"), ('{"items": 1}', 4, "list")])
async def test_a_file_that_is_no_list_changes_nothing(tmp_path: Path, text: str, code: int, says: str) -> None:
    """Nor does an empty one that would prune everything."""
    async with running_server(tmp_path) as server:
        done = await apply(server, tmp_path / "f.json", text, "--prune")
        assert done.code == code
        assert says in done.err


@pytest.mark.parametrize("command", [("apply",), ("import", "--any-node", "--from-spire")])
async def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    """With its name, the place and the exit code of bad input."""
    path = tmp_path / "f.yaml"
    path.write_bytes(b"- \xff\xfe")
    async with running_server(tmp_path) as server:
        done = await ringfence("entry", *command, path, "--data-dir", server.data_dir)
    assert done.code == 4
    assert f"{path}: this is no UTF-8 text (byte 2). Give a text file" in done.err


async def test_more_entries_than_a_message_holds_are_one_transaction(tmp_path: Path) -> None:
    """4,001 of them, then all unchanged."""
    lines = [f'{{"spiffeId": "/n/{n}", "selectors": ["unix:uid:{n}"]}}' for n in range(4_001)]
    async with running_server(tmp_path) as server:
        done = await apply(server, tmp_path / "f.jsonl", "\n".join(lines), "-o", "name")
        assert (done.code, len(done.out.splitlines())) == (0, 4_001)
        again = await apply(server, tmp_path / "f.jsonl", "\n".join(lines))
        assert "4001 unchanged" in again.err
