"""The fraud scenario from its command to its exit code, on real parts; it checks itself, and this holds that it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests import parts

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(440)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `ringfence demo --scenario fraud --json` measured; it ran to its end with exit code 0."""
    parts.envoy()
    parts.postgres()
    report = tmp_path_factory.mktemp("demo") / "fraud.json"
    # A temporary folder of its own: whatever the demo leaves there is left behind.
    folder = tempfile.mkdtemp(prefix="rf-")
    done = subprocess.run(
        [sys.executable, "-m", "ringfence.broker.cli", "demo", "--scenario", "fraud", "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env=os.environ | {"TMPDIR": folder},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    Path(folder).rmdir()
    facts: dict[str, Any] = json.loads(report.read_text())
    return facts


def test_the_model_is_one(told: dict[str, Any]) -> None:
    """Trained when it started, on rows from PostgreSQL through the mesh, and better than a coin on others."""
    assert told["model"]["auc"] > 0.85


def test_no_payment_fails_that_began_after_a_zone_was_lost(told: dict[str, Any]) -> None:
    """It scored all of them; the other region takes over, and hands them back once the zone is there again."""
    lost = told["zone_loss"]

    assert lost["before"]["zones"].keys() == {lost["zone"]}
    assert lost["after"]["failed_after"] == 0
    assert lost["after"]["zones"].keys() - {lost["zone"]}
    assert lost["back"]["failed"] == 0


def test_no_payment_fails_while_the_control_plane_is_away(told: dict[str, Any]) -> None:
    """For longer than half of what an SVID lives, so that each was due for renewal meanwhile."""
    away = told["away"]

    assert away["away_s"] > away["ttl_s"] / 2
    assert away["sent"] > 0
    assert away["failed"] == 0


def test_a_stolen_key_opens_what_its_workload_may_reach_and_nothing_else(told: dict[str, Any]) -> None:
    """Every port of every process was tried; core banking has never heard of anybody but the gateway."""
    scan = told["scan"]

    assert scan["opened"] == ["fraud/decisions/http POST /decisions", "fraud/features/postgres a database session"]
    assert scan["tries"] > 100
    assert scan["unknown"] == []
    assert scan["core_banking"] == []


def test_the_control_plane_knows_a_stolen_key_as_that_workload_and_no_more(told: dict[str, Any]) -> None:
    """It describes and feeds that workload's own proxy; it administers nothing, attests nothing and is nobody else."""
    plane = told["control_plane"]

    assert plane["methods"] > 40
    assert set(plane["granted"]) <= {"/ringfence.proxy.v1.Proxy/Describe", "/ringfence.proxy.v1.Proxy/Leave"}
    assert plane["own"] == ["outbound/decisions.fraud/http", "outbound/features.fraud/postgres"]
    assert plane["as_gateway"] == "PERMISSION_DENIED"
    assert plane["agents"] == ["PERMISSION_DENIED"]


def test_one_refusal_leads_to_a_line(told: dict[str, Any]) -> None:
    """File and line of the Deny that kept the intruder from core banking."""
    assert f"banking.yaml:{told['explain']['line']}\n" in told["explain"]["text"]


def test_a_revoked_identity_is_refused_by_every_proxy_that_it_had_to_do_with(told: dict[str, Any]) -> None:
    """Both upstreams and the one that calls it, and no payment failed before; lifted, the scorers go on."""
    revoke = told["revoke"]

    assert revoke["meanwhile"]["failed"] == 0
    assert len(revoke["ms"]) == 3
    assert max(revoke["ms"].values()) < 5000
    assert revoke["again_s"] is not None
