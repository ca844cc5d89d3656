"""`ringfence policy`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.cli import policy
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


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 0), ("info", 3)])
async def test_check_lists_risks_and_ends_as_it_is_asked_to(folder: Path, fail_on: str, code: int) -> None:
    """Validate says nothing of them; check does in every form, with the same place."""
    (folder / "r.yaml").write_text(RULE.replace("owner:", "mode: shadow, owner:"))
    where = (folder, "--trust-domain", "example.org")
    assert (await ringfence("policy", "validate", *where)).err == ""
    told = await ringfence("policy", "check", *where, "--fail-on", fail_on)
    assert told.code == code
    assert told.out.startswith(f"{folder}/r.yaml:1:1: info RF1403: ")
    listed = await ringfence("policy", "check", *where, "--fail-on", fail_on, "-o", "json")
    assert [item["code"] for item in listed.json["items"]] == ["RF1403"]
    (run,) = (await ringfence("policy", "check", *where, "--fail-on", fail_on, "-o", "sarif")).json["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["RF1403"]
    junit = await ringfence("policy", "check", *where, "--fail-on", fail_on, "-o", "junit")
    assert f'failures="{int(code != 0)}"' in junit.out


async def test_check_ends_with_4_where_a_document_is_in_error(folder: Path) -> None:
    """As validate does; in good documents there may be nothing to tell."""
    where = (folder, "--trust-domain", "example.org")
    good = await ringfence("policy", "check", *where)
    assert (good.code, good.out) == (0, "nothing found\n")
    (folder / "bad.yaml").write_text("kind: Nonsense\n")
    assert (await ringfence("policy", "check", *where, "-o", "junit")).code == 4


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


async def test_status_says_how_each_document_in_force_stands(tmp_path: Path, folder: Path) -> None:
    """Where it was written, and the proxies that it concerns: here none is connected."""
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        await ringfence("policy", "apply", folder, *where)
        done = await ringfence("policy", "status", *where, "-o", "json")
        assert done.code == 0
        assert [(row["document"], row["state"], row["applied"]) for row in done.json["items"]] == [
            ("Allow a/pull", "Unused", "0/0"),
            ("Workload a/registry", "Unused", "0/0"),
            ("Workload a/trainer", "Unused", "0/0"),
        ]
        assert done.json["items"][0]["place"] == f"{folder}/r.yaml:1"
        one = await ringfence("policy", "status", "a/pull", *where, "-o", "name")
        assert one.out == "Allow a/pull\n"


async def test_get_shows_what_is_in_force_as_it_was_written(tmp_path: Path, folder: Path) -> None:
    """Comments within it too, with file, line, revision and standing; what is printed may be applied again."""
    (folder / "r.yaml").write_text(RULE.replace("kind: Allow", "kind: Allow  # for training"))
    async with running_server(tmp_path) as server:
        where = ("--admin-socket", server.admin_socket)
        await ringfence("policy", "apply", folder, *where)
        revision = server.parts.intent.revision
        one = await ringfence("policy", "get", "allow", "pull", *where)
        head, _, text = one.out.partition("\n")
        assert head == f"# Allow a/pull ({folder}/r.yaml:1), revision {revision[:12]}: Unused, applied on 0 of 0"
        assert text == (folder / "r.yaml").read_text()
        listed = await ringfence("policy", "get", "Workload", *where, "-o", "json")
        assert [item["name"] for item in listed.json["items"]] == ["a/registry", "a/trainer"]
        assert {item["revision"] for item in listed.json["items"]} == {revision}
        everything = await ringfence("policy", "get", *where)
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / "all.yaml").write_text(everything.out)
        again = await ringfence("policy", "apply", tmp_path / "again", "--dry-run", *where, "-o", "json")
        assert {change["action"] for change in again.json["changes"]} == {"unchanged"}
        missing = await ringfence("policy", "get", "Deny", "a/pull", *where)
        assert missing.code == 1
        assert "no document in force is Deny a/pull" in missing.err


def test_a_refused_document_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, with who refuses it and in which words."""
    answer = pb.ShowPolicyResponse(
        documents=[
            pb.DocumentStatus(document="Allow a/b", path="r.yaml", line=3, state="Refused", proxies=2, applied=1)
        ]
    )
    answer.documents[0].refused["n1"] = "r.yaml:3: the proxy refuses it"
    monkeypatch.setattr(policy, "ask", lambda socket, call: answer)  # noqa: ARG005
    result = CliRunner().invoke(policy.command, ["status", "--admin-socket", "a"], standalone_mode=False)
    assert result.return_value == 3
    assert " ".join(result.output.splitlines()[1].split()) == (
        "Allow a/b r.yaml:3 Refused 1/2 n1=r.yaml:3: the proxy refuses it"
    )
