"""`ringfence fabric plan`, from files alone, and what `apply` and `remove` refuse before they touch the node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.broker.cli.operator import ringfence
from tests.broker.cli.test_fabric_env import FABRICS
from tests.broker.fabric.sysfs import interface
from tests.fabric.test_plan_links import ROUTES

LINKS = '[{"ifname":"fab0","addr_info":[{"family":"inet","local":"10.91.0.1","prefixlen":24,"scope":"global"}]}]'


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, ...]:
    """The options that name the documents and what a node says of itself."""
    intent, sys = tmp_path / "intent", tmp_path / "sys"
    intent.mkdir()
    (intent / "fabrics.yaml").write_text(FABRICS)
    for name in ("eth0", "fab0"):
        interface(sys, name)
    (tmp_path / "links").write_text(LINKS)
    (tmp_path / "routes").write_text(ROUTES)
    node = ("--sys", str(sys), "--links", str(tmp_path / "links"), "--routes", str(tmp_path / "routes"))
    return "fabric", "plan", "fab", "--dir", str(intent), *node


async def test_a_plan_is_a_script(told: tuple[str, ...]) -> None:
    """Closed first, then the settings, then the routes; a family without an address has none."""
    done = await ringfence(*told, "--member", "llama=10.91.0.1,10.91.0.2")
    assert done.code == 0, done.err
    commands = [line for line in done.out.splitlines() if line.startswith(("nft", "sysctl", "ip", "set -e"))]
    assert commands[:3] == ["set -e", "nft -f - <<'END'", "sysctl -w net/ipv4/conf/fab0/arp_ignore=1"]
    assert commands[-1] == "ip -4 -batch - <<'END'"
    assert "elements = { 10.91.0.1, 10.91.0.2 }" in done.out


async def test_json_has_each_text_by_itself(told: tuple[str, ...], tmp_path: Path) -> None:
    """With the members of a file and of options together."""
    file = tmp_path / "members.json"
    file.write_text(json.dumps({"team-a/llama": ["10.91.0.1"]}))
    done = await ringfence(*told, "--members", file, "--member", "llama=10.91.0.2", "-o", "json")
    assert (done.json["kind"], done.json["fabric"]) == ("FabricPlan", "team-a/fab")
    assert done.json["members"] == {"team-a/llama": ["10.91.0.1", "10.91.0.2"]}
    assert done.json["interfaces"] == {"fab0": ["10.91.0.1/24"]}
    assert done.json["sysctl"]["net/ipv4/conf/fab0/rp_filter"] == "2"
    assert done.json["nft"].startswith("# Fabric team-a/fab")
    assert done.json["ip6"] == ""


async def test_nobody_is_a_member_unless_it_is_said(told: tuple[str, ...]) -> None:
    """A job with a grant has its set, which is empty; one whose grant has ended has none."""
    assert (await ringfence(*told, "-o", "json")).json["members"] == {"team-a/llama": []}


@pytest.mark.parametrize(("job", "code"), [("ended", 5), ("team-b/llama", 5), ("", 2)])
async def test_a_job_without_leave_has_no_member(told: tuple[str, ...], job: str, code: int) -> None:
    """A grant that has ended, or of another namespace, is none."""
    done = await ringfence(*told, "--member", f"{job}=10.91.0.1")
    assert (done.code, done.out) == (code, "")


@pytest.mark.parametrize("text", ["", "[]", '{"llama": "10.91.0.1"}', '{"llama": [1]}'])
async def test_a_file_of_members_is_addresses_by_job(told: tuple[str, ...], tmp_path: Path, text: str) -> None:
    """Anything else is refused with the file's name."""
    file = tmp_path / "members.json"
    file.write_text(text)
    done = await ringfence(*told, "--members", file)
    assert (done.code, done.out) == (4, "")
    assert str(file) in done.err


async def test_bad_words_are_refused_before_anything_is_done(told: tuple[str, ...]) -> None:
    """What is no JOB=ADDR, routes of one node with addresses of another, and no fabric's whole name."""
    assert (await ringfence(*told, "--member", "10.91.0.1")).code == 2
    assert (await ringfence(*told[:5], "--routes", told[-1])).code == 2
    for name in ("fab", "team-a/fab; flush", "/", "team-a/"):
        done = await ringfence("fabric", "remove", name)
        assert (done.code, done.out) == (2, "")
        assert "is not NAMESPACE/NAME" in done.err
