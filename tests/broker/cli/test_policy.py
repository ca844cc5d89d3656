"""`ringfence policy`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.server.harness import running_server
from tests.broker.test_intent import RULE, WORKLOADS

pytestmark = pytest.mark.e2e


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good documents."""
    made = tmp_path / "intent"
    made.mkdir()
    (made / "w.yaml").write_text(WORKLOADS)
    (made / "r.yaml").write_text(RULE)
    return made


async def test_validate_needs_no_server(folder: Path) -> None:
    """Exit 0 with the revision, 4 with every finding at its place."""
    good = await ringfence("policy", "validate", folder, "--trust-domain", "example.org", "-o", "json")
    assert good.code == 0
    assert good.json["valid"]
    (folder / "bad.yaml").write_text("kind: Nonsense\n")
    bad = await ringfence("policy", "validate", folder, "--trust-domain", "example.org", "-o", "json")
    assert bad.code == 4
    assert {finding["path"] for finding in bad.json["findings"]} == {f"{folder}/bad.yaml"}
    text = await ringfence("policy", "validate", folder, "--trust-domain", "example.org")
    assert (text.code, text.out) == (4, "")
    assert text.err.startswith(f"{folder}/bad.yaml:1:")


async def test_apply_reports_what_became_of_each_document(tmp_path: Path, folder: Path) -> None:
    """Created, unchanged, pruned; a dry run changes nothing; errors exit 4 and change nothing."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket, "-o", "json")
        dry = await ringfence("policy", "apply", folder, "--dry-run", *where)
        assert {change["action"] for change in dry.json["changes"]} == {"created"}
        assert not server.parts.intent.revision
        first = await ringfence("policy", "apply", folder, *where)
        assert first.code == 0
        assert first.json["revision"] == dry.json["revision"] == server.parts.intent.revision
        (folder / "r.yaml").unlink()
        second = await ringfence("policy", "apply", folder, *where)
        actions = {change["document"]: change["action"] for change in second.json["changes"]}
        assert actions["Allow a/pull"] == "pruned"
        assert actions["Workload a/trainer"] == "unchanged"
        (folder / "bad.yaml").write_text("kind: Nonsense\n")
        failed = await ringfence("policy", "apply", folder, *where)
        assert failed.code == 4
        assert not failed.json["changes"]


async def test_apply_records_author_and_commit_of_a_checkout(tmp_path: Path, folder: Path) -> None:
    """From git, and marked when files differ from the commit."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    async with running_server(tmp_path) as server:
        await ringfence("policy", "apply", folder, "--admin-socket", server.admin_socket)
        intent = server.parts.intent
        assert intent.model is not None
        facts = intent.lookup("a/pull", intent.model.rules[0].hash)
        assert facts is not None
        assert (facts.author, facts.commit) == ("Ada <ada@example.org>", commit)
        (folder / "r.yaml").write_text(RULE.replace("owner: ml", "http: [{methods: [GET]}], owner: ml"))
        await ringfence("policy", "apply", folder, "--admin-socket", server.admin_socket)
        facts = intent.lookup("a/pull", intent.model.rules[0].hash)
        assert facts is not None
        assert facts.commit == f"{commit}-dirty"


async def test_an_empty_folder_is_said_in_words(tmp_path: Path) -> None:
    """A typo in the path must not read as an intent that allows nothing."""
    done = await ringfence("policy", "validate", tmp_path)
    assert done.code == 1
    assert "no intent documents" in done.err


async def test_schema_prints_json() -> None:
    """For editors."""
    assert (await ringfence("policy", "schema")).json["$schema"]


async def test_apply_may_wait_until_proxies_hold_it(tmp_path: Path, folder: Path) -> None:
    """The report is as ever; how the wait ended is said beside it, on standard error."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket, "-o", "json")
        done = await ringfence("policy", "apply", folder, "--wait", *where)
        assert done.code == 0
        assert done.json["revision"] == server.parts.intent.revision
        assert done.err == f"0 of 0 proxies hold revision {done.json['revision'][:12]}\n"
