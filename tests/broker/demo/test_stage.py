"""The demo's intent is a valid example that is filled in for the machine it runs on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringfence.broker.demo import plane
from ringfence.broker.demo.plane import Plane, fill_in
from ringfence.broker.demo.stage import INTENT, TRUST_DOMAIN
from ringfence.policy.load import load_documents

FACTS = {"UID": "1234", "REGISTRY_PORT": "4711", "HUB_ADDRESS": "127.0.0.1:4712", "HUB_CA_FILE": "hub-ca.pem"}


def test_marked_values_and_marked_lines_become_the_facts() -> None:
    """A value with a comment is replaced, a line that is only a comment is put in force, anything else stays."""
    text = "port: 18080  # ${REGISTRY_PORT}\n  - unix.uid: 1000  # ${UID}\n  # address: ${HUB_ADDRESS}\n# a comment\n"

    assert fill_in(text, FACTS) == "port: 4711\n  - unix.uid: 1234\n  address: 127.0.0.1:4712\n# a comment\n"


def test_the_intent_is_valid_as_it_stands() -> None:
    """It is also the example that people start from."""
    texts = [(document.name, document.read_text()) for document in INTENT.iterdir()]
    loaded = load_documents(texts, default_trust_domain=TRUST_DOMAIN)

    assert loaded.model is not None
    assert [finding.code for finding in loaded.findings if finding.level == "error"] == []


def test_every_placeholder_is_known() -> None:
    """A new one without a fact would leave the demo with somebody's port 18080."""
    for document in INTENT.iterdir():
        assert "${" not in fill_in(document.read_text(), FACTS)


def test_a_python_below_a_hidden_folder_is_shared_with_isolated_workloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who installs it in /tmp would find that no workload starts; what no wall hides is not named."""
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr("sys.base_prefix", "/usr")
    shared = plane.programs()

    assert tmp_path in shared
    assert Path("/usr") not in shared


@pytest.mark.parametrize("why", ["", "the kernel refuses"])
def test_workloads_are_isolated_where_the_kernel_lets_them_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """One line says which it is, with every workload that is not; what it needs to see is shared."""

    async def refused() -> str:
        return why

    monkeypatch.setattr(plane, "refused", refused)
    monkeypatch.setattr(plane, "programs", tuple)  # those of the test's own Python depend on where it is
    said: list[str] = []
    stage = Plane(tmp_path, said.append, TRUST_DOMAIN)
    stage.bare["notebook"] = "it goes around"
    asyncio.run(stage.try_walls())
    shown = ("--isolate", "--share", str(tmp_path), "--", "true")
    assert (stage.run_command("trainer", "a", "true", share=[tmp_path])[-5:] == shown) == (not why)
    assert "--isolate" not in stage.run_command("notebook", "a", "true")
    (line,) = said
    assert why in line
    assert ("not notebook: it goes around" in line) == (not why)
