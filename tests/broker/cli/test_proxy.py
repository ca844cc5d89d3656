"""`ringfence proxy status` against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.cli import proxy


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the server lists; stands in for the socket."""
    rows: list[Any] = []
    monkeypatch.setattr(proxy, "ask", lambda socket, call: admin_pb2.ListProxiesResponse(proxies=rows))  # noqa: ARG005
    return rows


def run(*arguments: str) -> tuple[Any, str]:
    """The command's return value and its output."""
    result = CliRunner().invoke(
        proxy.command, ["status", "--admin-socket", str(Path("a.sock")), *arguments], standalone_mode=False
    )
    return result.return_value, result.output


def test_proxies_are_listed_and_all_is_well(answers: list[Any]) -> None:
    """A revision is shortened in the table only."""
    answers.append(
        admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", revision="0123456789abcdef", state="SYNCED")
    )

    code, table = run()
    assert code == 0
    assert "0123456789ab" in table
    assert "0123456789abcdef" not in table
    _, text = run("-o", "json")
    assert json.loads(text)["items"][0]["revision"] == "0123456789abcdef"


def test_a_refusal_is_shown_and_is_a_no(answers: list[Any]) -> None:
    """Exit code 3, so that a script notices."""
    answers.append(admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", state="NACK", detail="rules.yaml:3: bad"))

    code, table = run()

    assert code == 3
    assert "rules.yaml:3: bad" in table


def test_where_a_proxy_runs_is_in_the_wide_table_only(answers: list[Any]) -> None:
    """Most meshes have one place."""
    answers.append(admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", state="SYNCED", region="eu", zone="eu-1"))
    assert "eu-1" in run("-o", "wide")[1]
    assert "eu-1" not in run()[1]
