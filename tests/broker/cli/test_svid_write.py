"""`ringfence svid write`: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server


async def test_files_are_written_and_listed(tmp_path: Path) -> None:
    """With PostgreSQL's names, a token, and a command that runs afterwards; -o json lists files and modes."""
    folder = tmp_path / "tls"
    names = ["--cert-file", "server.crt", "--key-file", "server.key", "--bundle-file", "root.crt"]
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        done = await ringfence(
            *("svid", "write", "--dir", folder, *names, "--jwt", "https://h/?a=b=db.token", "--key-mode", "640"),
            *("--owner", str(os.geteuid()), "--exec", f"touch '{tmp_path / 'told'}'", "-o", "json"),
            RINGFENCE_SOCKET=f"unix://{agent.socket}",
        )
    assert done.code == 0, done.err
    modes = {item["file"]: item["mode"] for item in done.json["items"]}
    assert modes == {"server.crt": "0644", "server.key": "0640", "root.crt": "0644", "db.token": "0640"}
    assert done.json["kind"] == "SvidFileList"
    assert "PRIVATE" not in done.out
    assert (tmp_path / "told").exists()


async def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    """The files are written all the same."""
    async with running_server(tmp_path) as server, running_agent(tmp_path, server) as agent:
        await server.create_entry("spiffe://example.org/ns/a/sa/w", OWN_UID)
        done = await ringfence(
            "svid", "write", "--dir", tmp_path / "tls", "--exec", "false", "--socket", str(agent.socket)
        )
    assert (done.code, "false: ended with 1" in done.err) == (1, True)
    assert (tmp_path / "tls" / "key.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--key-mode", "0644"], 4, "opens the key too far"),
        (["--key-mode", "rw"], 2, "no octal mode"),
        (["--key-file", "../key.pem"], 4, "no plain file name"),
        (["--jwt", "db"], 4, "no WHAT=FILE"),
        (["--signal", "KILL", "--process", "x"], 2, "one of HUP"),
        (["--signal", "HUP"], 4, "one receiver"),
        (["--owner", "no such user"], 4, "there is no no such user"),
        (["--exec", "'"], 2, "No closing quotation"),
    ],
)
async def test_bad_options_are_named(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """Before anything is asked for or written."""
    done = await ringfence("svid", "write", "--dir", tmp_path / "tls", "--socket", tmp_path / "s", *arguments)
    assert (done.code, words in done.err) == (code, True), done.err
    assert not (tmp_path / "tls").exists()


async def test_an_agent_that_is_away_is_named(tmp_path: Path) -> None:
    """Exit code 1, and which socket."""
    done = await ringfence("svid", "write", "--dir", tmp_path / "tls", "--socket", tmp_path / "s")
    assert (done.code, str(tmp_path / "s") in done.err) == (1, True)
