"""`ringfence fabric check`: manifests and intent in, findings with their threats out, in four forms."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.broker.cli.operator import ringfence
from tests.fabric.manifests.samples import POD, annotated
from tests.policy.intent import FABRIC, GRANT, MESH, TRAINER, joined

BYPASS = annotated(POD, "traffic.sidecar.istio.io/excludeInterfaces: ib0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a pod that leaves an interface out, and an intent that grants it."""
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods/pod.yaml").write_text(BYPASS)
    (tmp_path / "intent").mkdir()
    granted = GRANT.replace("2027-01-31", "2999-01-31")
    (tmp_path / "intent/all.yaml").write_text(joined(MESH, TRAINER, FABRIC.replace("0x0012", "0x7fff"), granted))
    return tmp_path


async def test_without_intent_nobody_has_a_grant(folder: Path):
    """An error, with the threat behind it; a grant makes it good, and intent's own findings are listed then."""
    done = await ringfence("fabric", "check", folder / "pods")
    assert done.code == 3
    assert done.out.startswith(f"{folder}/pods/pod.yaml:6:17: error RF6106: Pod team-a/rank has traffic.sidecar")
    assert done.out.rstrip().endswith("[FAB-05 AML.TA0007]")
    granted = await ringfence("fabric", "check", folder / "pods/pod.yaml", "--dir", folder / "intent")
    assert granted.code == 0
    assert "RF6106" not in granted.out
    assert "warning RF1313" in granted.out
    assert "RF1302" not in granted.out  # of no threat
    assert (await ringfence("fabric", "check", "--dir", folder / "intent", "--fail-on", "warning")).code == 3


async def test_json_sarif_and_junit(folder: Path):
    """The threats in each."""
    asked = ("fabric", "check", folder / "pods", "--dir", folder / "intent", "-o")
    items = (await ringfence(*asked, "json")).json["items"]
    assert [(one["code"], one["threats"][0]) for one in items] == [("RF1313", "FAB-03")]
    run = (await ringfence("fabric", "check", folder / "pods", "-o", "sarif")).json["runs"][0]["tool"]["driver"]
    assert (run["name"], run["rules"][0]["properties"]["tags"]) == ("ringfence fabric check", ["FAB-05", "AML.TA0007"])
    suite = ET.fromstring((await ringfence(*asked, "junit")).out)  # noqa: S314 - our own text
    assert suite.get("name") == "ringfence fabric check"


async def test_what_is_not_there_or_cannot_be_read(folder: Path):
    """Misuse is 2, a manifest that is none 4; nothing found is said."""
    assert (await ringfence("fabric", "check")).code == 2
    (folder / "pods/pod.yaml").write_text("a: [")
    assert (await ringfence("fabric", "check", folder / "pods")).code == 4
    (folder / "pods/pod.yaml").write_text(POD)
    done = await ringfence("fabric", "check", folder / "pods")
    assert (done.code, done.out) == (0, "nothing found\n")
    (folder / "pods/pod.yaml").write_text(BYPASS)
    assert (await ringfence("fabric", "check", folder / "pods", "--without-namespace", "team-a")).code == 0
