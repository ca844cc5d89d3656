"""`ringfence fabric emit`: documents and options in, one target's text out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.cli.fabric_emit import _TARGETS
from ringfence.fabric.emit.targets import TARGETS
from tests.broker.cli.operator import ringfence

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: rail, namespace: platform}
spec:
  {kind: infiniband, interfaces: ["ib*"], partition: {pkey: 0x0012}, tenants: [team-a], enforcedBy: pkey}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One document with a fabric."""
    (tmp_path / "intent").mkdir()
    (tmp_path / "intent/fabrics.yaml").write_text(INTENT)
    return tmp_path / "intent"


def test_the_command_knows_every_target() -> None:
    """Its list is written twice, so that --help imports nothing."""
    assert set(_TARGETS) == set(TARGETS)


async def test_guids_come_from_options_and_from_a_file(folder: Path, tmp_path: Path) -> None:
    """One a line, with comments; the file says where in the documents it comes from."""
    (tmp_path / "guids").write_text("# rail 0\n0x0002c903000e0b72  # node1\n\n0002c903000e0b73\n")
    done = await ringfence(
        "fabric", "emit", "opensm", "rail", "--dir", folder,
        "--guids", tmp_path / "guids", "--guid", "0x0002c903000e0b74",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.startswith(f"# from {folder}/fabrics.yaml:5: fabric platform/rail\n")
    assert done.out.count("=full,") + done.out.count("=full ;") == 4


async def test_a_missing_fact_and_a_kind_that_does_not_fit_are_told(folder: Path) -> None:
    """With the place and the next step, and nothing on stdout."""
    missing = await ringfence("fabric", "emit", "opensm", "rail", "--dir", folder)
    assert "--guid" in missing.err
    wrong = await ringfence("fabric", "emit", "efa", "platform/rail", "--dir", folder)
    assert "is of the kind infiniband, and efa is for efa" in wrong.err
    assert f"{folder}/fabrics.yaml:5" in wrong.err
    assert missing.code == wrong.code != 0
    assert not missing.out + wrong.out


async def test_the_other_options_arrive(folder: Path) -> None:
    """Those of SR-IOV and of claims."""
    common = ("rail", "--dir", folder)
    named = await ringfence(
        "fabric", "emit", "sriov", *common, "--resource-name", "nvidia.com/ibvf", "--operator-namespace", "sriov",
        "--ipam", '{"type": "nv-ipam"}',
    )  # fmt: skip
    assert 'resourceName: "ibvf"' in named.out
    assert 'namespace: "sriov"' in named.out
    assert "nv-ipam" in named.out
    assert "count: 8" in (await ringfence("fabric", "emit", "dra", *common, "--count", "8")).out
