"""`ringfence authz` without a server: questions to files, and how answers are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.cli import authz
from ringfence.certs.errors import Kind, RingfenceError
from tests.policy.intent import MESH, PULL, REGISTRY, TRAINER, joined


def run(*arguments: str) -> tuple[Any, str]:
    """The command's exit code and its output."""
    result = CliRunner().invoke(authz.command, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


@pytest.fixture
def intent(tmp_path: Path) -> Path:
    """A folder with one file."""
    (tmp_path / "all.yaml").write_text(joined(MESH, TRAINER, REGISTRY, PULL))
    return tmp_path


@pytest.mark.parametrize(("method", "code"), [("GET", 0), ("PUT", 3)])
def test_files_answer_a_check(intent: Path, method: str, code: int) -> None:
    """0 allowed, 3 denied; the JSON has every field of a decision."""
    asked = ("team-a/trainer", "shared/registry", "--port", "http", "--method", method, "--path", "/models/team-a/x")
    found, out = run("check", *asked, "--intent", str(intent), "-o", "json")
    decision = json.loads(out)

    assert (found, decision["allowed"]) == (code, code == 0)
    assert {field.json_name for field in admin_pb2.Decision.DESCRIPTOR.fields} <= decision.keys()
    assert decision["where"].endswith("all.yaml:14" if code == 0 else "")


def test_a_check_may_have_headers(intent: Path) -> None:
    """Each `--header` is a line of the request; one that is none is an error."""
    asked = ("team-a/trainer", "shared/registry", "--method", "GET", "--path", "/models/team-a/x")
    code, _ = run("check", *asked, "--intent", str(intent), "--port", "http", "--header", "x-role: ro")

    assert code == 0
    with pytest.raises(RingfenceError, match="no header"):
        run("check", *asked, "--intent", str(intent), "--port", "http", "--header", "x-role")


def test_a_check_tells_a_story(intent: Path) -> None:
    """A person reads who, what, why, and what to change."""
    asked = ("team-a/trainer", "shared/registry", "--port", "http", "--method", "PUT", "--path", "/models/team-a/x")
    _, out = run("check", *asked, "--intent", str(intent))

    assert "DENIED" in out
    assert "default-deny" in out
    assert "its methods named PUT beside GET, HEAD" in out


def test_errors_in_the_files_are_all_told(tmp_path: Path) -> None:
    """Nothing is judged by an intent that does not stand."""
    (tmp_path / "a.yaml").write_text("kind: Allow\nmetadata: {name: x, namespace: y}\nspec: {}\n")
    with pytest.raises(RingfenceError) as caught:
        run("check", "a/b", "c/d", "--intent", str(tmp_path))

    assert caught.value.kind is Kind.INVALID
    assert "a.yaml:" in str(caught.value)


def test_an_unknown_id_is_an_error_with_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record may have been pushed out, or never came."""
    monkeypatch.setattr(authz, "ask", lambda socket, call: admin_pb2.ExplainAuthzResponse())  # noqa: ARG005
    with pytest.raises(RingfenceError) as caught:
        run("explain", "nothing", "--admin-socket", "a.sock")

    assert caught.value.kind is Kind.NOT_FOUND
    assert "authz tail" in caught.value.hint
