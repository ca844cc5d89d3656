"""The training scenario from its command to its exit code, on real parts; it checks itself, and this holds that it did.

As root and as a user who is none, who plays it in a user namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import parts
from tests.e2e.users import as_user, users

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.envoy,
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(440),
]


@pytest.fixture(scope="module", params=users(), ids=lambda who: "another user" if who[1] else "who runs the tests")
def told(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What `ringfence demo --scenario training --json` measured; it ran to its end with exit code 0."""
    parts.envoy()
    parts.torch()
    parts.program("nft", "nftables")
    uid, another = request.param
    if os.geteuid() != 0 or another:
        parts.user_namespaces()
    # Temporary folders of its own: whatever the demo leaves there is left behind.
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder, report = Path(name, "tmp"), Path(name, "training.json")
        folder.mkdir()
        for path in (Path(name), folder):
            os.chown(path, uid, -1)
        done = subprocess.run(
            [
                *(as_user(uid) if another else ()),
                *(sys.executable, "-m", "ringfence.broker.cli", "demo", "--scenario", "training"),
                *("--json", str(report)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
            cwd="/",
            env=os.environ | {"TMPDIR": str(folder), "HOME": name},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("not root" in done.stdout) is (another or os.geteuid() != 0)
        assert list(folder.iterdir()) == []
        yield json.loads(report.read_text())


def test_the_ranks_have_trained_one_model(told: dict[str, Any]) -> None:
    """Two of them, with the same weights, and better than whoever only knows how frequent each byte is."""
    training = told["training"]

    assert training["world"] == 2
    assert training["same_weights"]
    assert training["after"] < training["unigram"] < training["before"]


def test_collective_bytes_are_on_the_fabric_only(told: dict[str, Any]) -> None:
    """By the leak test of each node, which watched since before the rendezvous; strangers were at it too."""
    nodes = told["leaks"]["nodes"]

    assert len(nodes) == 2
    for node in nodes.values():
        assert [part["verdict"] for part in node["items"]] == ["proved"] * 4


def test_a_rank_of_another_job_is_refused_at_the_rendezvous(told: dict[str, Any]) -> None:
    """By its certificate, on record; and its own agent does not let it be a member."""
    wrong = told["wrong_job"]

    assert wrong["source"].endswith("/ns/team-b/job/bert/rank/0")
    assert wrong["rule"] == "default-deny"
    assert wrong["answer"] != "answered"
    assert (wrong["join_code"], "does not let this run take part" in wrong["join_said"]) == (5, True)


def test_a_stranger_on_the_fabric_gets_no_answer(told: dict[str, Any]) -> None:
    """Of no port that rank 0's node listens on, the store's among them."""
    stranger = told["stranger"]

    assert stranger["store_listens"]
    assert stranger["ports"] >= 2
    assert stranger["answers"] == ["TimeoutError"]
    assert stranger["store_by_control"] == "TimeoutError"


def test_a_revoked_rank_is_cut_off_in_the_middle_of_the_job(told: dict[str, Any]) -> None:
    """Out of both kernels' sets, ended by its launcher, no step after it, and not let in again."""
    revoke = told["revoke"]

    assert revoke["steps_before"] > 0
    assert max(revoke["ms"].values()) < 5000
    assert revoke["rank_ended_with"] == 5
    assert "was revoked" in revoke["rank_said"]
    assert revoke["steps_after"] == 0
    assert revoke["again_code"] == 5
