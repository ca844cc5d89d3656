"""The demo from its command to its exit code, on real parts: the acceptance test of the slice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import parts

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("demo"), pytest.mark.timeout(440)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `ringfence demo --json` measured; it ran to its end with exit code 0."""
    parts.envoy()
    parts.torch()
    report = tmp_path_factory.mktemp("demo") / "demo.json"
    # A temporary folder of its own: whatever the demo leaves there is left behind.
    folder = tempfile.mkdtemp(prefix="rf-")
    done = subprocess.run(
        [sys.executable, "-m", "ringfence.broker.cli", "demo", "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env=os.environ | {"TMPDIR": folder},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    Path(folder).rmdir()
    facts: dict[str, object] = json.loads(report.read_text())
    return facts


def test_a_real_pytorch_job_learns_from_what_it_may_reach(told: dict[str, dict[str, object]]) -> None:
    """Torch, not the NumPy stand-in; its loss falls; it read every row."""
    training = told["training"]

    assert str(training["framework"]).startswith("torch")
    assert float(str(training["loss_after"])) < float(str(training["loss_before"])) / 2


def test_every_call_is_decided_by_the_rule_that_must_decide_it(told: dict[str, list[dict[str, object]]]) -> None:
    """At least five allowed and six denied, each with its rule or named default, and a line where a rule spoke."""
    calls = told["calls"]

    assert [call["problem"] for call in calls] == [""] * len(calls)
    assert sum(1 for call in calls if call["expected"]) >= 5
    assert sum(1 for call in calls if not call["expected"]) >= 6


def test_a_revoked_call_is_refused_on_the_connection_that_stayed_open(told: dict[str, dict[str, object]]) -> None:
    """403 on the same connection, after the apply."""
    assert told["revoke"]["ok"] is True


def test_no_request_fails_while_every_key_rotates(told: dict[str, dict[str, object]]) -> None:
    """New authority, new SVIDs, steady traffic."""
    assert told["rotate"]["ok"] is True
    assert told["rotate"]["failed"] == 0


def test_no_request_fails_while_the_server_is_killed_and_started_again(told: dict[str, dict[str, object]]) -> None:
    """The data plane does not need the control plane to be alive."""
    assert told["restart"]["ok"] is True
    assert told["restart"]["failed"] == 0
