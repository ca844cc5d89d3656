"""`ringfence graph reach`: verdict, mechanism and line for every way, and an exit code that scripts can ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.policy.intent import FABRIC, GRANT, MESH, PULL, REGISTRY, TRAINER, joined

LATER = GRANT.replace("2027-01-31", "2999-01-31")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents of a trainer, a registry and a fabric."""
    (tmp_path / "intent.yaml").write_text(joined(MESH, TRAINER, REGISTRY, PULL, FABRIC, LATER))
    return tmp_path


async def test_the_story_has_a_verdict_a_mechanism_and_a_line_for_each_way(folder: Path):
    """In the order proxy, primary NIC, fabric."""
    done = await ringfence("graph", "reach", "team-a/trainer", "shared/registry", "--port", "http", "--dir", folder)
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "proxy: shared/registry http: some",
        "primary NIC: shared/registry http (8080): unknown",
        "fabric: platform/rail data (infiniband): deny",
        "fabric: platform/rail tcp 8080: deny",
    ]
    assert "  enforced by  mutual TLS and RBAC in the proxy of shared/registry, each request" in lines
    assert any(line.endswith("Allow team-a/pull: GET,HEAD /models/team-a/**") for line in lines)


async def test_json(folder: Path):
    """Where and what a document says, apart."""
    done = await ringfence("graph", "reach", "team-a/trainer", "team-a/trainer", "--dir", folder, "-o", "json")
    assert done.json["kind"] == "ReachList"
    data = done.json["items"][2]
    assert (data["way"], data["verdict"]) == ("fabric", "allow")
    assert [one["document"] for one in data["intent"]] == ["Fabric platform/rail", "FabricGrant team-a/llm"]
    assert data["intent"][1]["line"] > 0


async def test_the_answer_no_ends_with_3(folder: Path):
    """What is unknown is no yes; walls make it known."""
    asked = ("graph", "reach", "team-a/trainer", "shared/registry", "--port", "db", "--dir", folder)
    assert (await ringfence(*asked)).code == 3
    walled = await ringfence(
        "graph", "reach", "team-a/trainer", "shared/registry", "--to-run", "capture", "--dir", folder
    )
    assert "primary NIC: shared/registry http (8080): deny" in walled.out


async def test_who_is_not_there_is_told(folder: Path):
    """With the nearest name."""
    done = await ringfence("graph", "reach", "team-a/trainr", "shared/registry", "--dir", folder)
    assert (done.code, "Did you mean 'team-a/trainer'?" in done.err) == (1, True)
