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

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(240)]


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
        timeout=220,
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
