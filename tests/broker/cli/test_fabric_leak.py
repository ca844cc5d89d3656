"""`ringfence fabric leak-test` where nothing is to be watched; around a job it is in tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: fab, namespace: team-a}
spec: {kind: tcp, interfaces: [fab0nowhere], cidrs: [10.91.0.0/24], ports: ["50000-51000"], tenants: [team-a],
       enforcedBy: host-firewall}
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: FabricGrant
metadata: {name: llama, namespace: team-a}
spec: {fabric: {name: fab}, identities: [{workload: trainer}], job: llama, expires: 2999-01-01T00:00:00Z,
       owner: o, reason: r}
"""


@pytest.fixture
def named(tmp_path: Path) -> tuple[str, ...]:
    """The command, its fabric and its documents."""
    (tmp_path / "intent.yaml").write_text(INTENT)
    return "fabric", "leak-test", "fab", "--dir", str(tmp_path)


async def test_a_job_without_a_grant_is_refused(named: tuple[str, ...]):
    """Before anything is run."""
    done = await ringfence(*named, "--job", "gpt", "--", "false")
    assert done.code == 5
    assert "no grant in force lets job gpt use fabric team-a/fab" in done.err


async def test_a_fabric_that_is_not_here_is_refused(named: tuple[str, ...]):
    """It may be in the job's own network namespace."""
    done = await ringfence(*named, "--job", "llama", "--", "false")
    assert done.code == 1
    assert "no network interface in this network namespace. Run it where the job runs" in done.err


@pytest.mark.parametrize("watched", [(), ("--pid", "1", "--", "true"), ("--for", "5s", "--", "true")])
async def test_either_a_command_or_processes_are_watched(
    named: tuple[str, ...], watched: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    """One of the two, and a duration for the latter alone."""
    monkeypatch.setattr("ringfence.fabric.resolve.interfaces_of", lambda *_: ("fab0",))
    done = await ringfence(*named, "--job", "llama", *watched)
    assert done.code == 2
    assert "either -- CMD, or --pid" in done.err or "--for goes with --pid" in done.err


async def test_what_cannot_be_watched_is_said(named: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """No such process, no such command."""
    monkeypatch.setattr("ringfence.fabric.resolve.interfaces_of", lambda *_: ("fab0",))
    gone = await ringfence(*named, "--job", "llama", "--pid", str(2**22 + os.getpid()))
    assert (gone.code, "is not there" in gone.err) == (1, True)
    none = await ringfence(*named, "--job", "llama", "--", "no-such-command")
    assert (none.code, "there is no command no-such-command" in none.err) == (1, True)
