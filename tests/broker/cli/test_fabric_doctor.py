"""`ringfence fabric doctor`: files in, findings out in four forms; and a capture that was got wrong on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import parts
from tests.broker.cli.operator import ringfence
from tests.fabric.doctor import samples
from tests.fabric.doctor.rulesets import REDIRECT, ruleset

FABRIC = ("fabric", "doctor", "--interface", "fab0", "--cidr", "10.91.0.0/24", "--mtu", "9000")


DOCUMENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: fab, namespace: team-a}
spec:
  kind: tcp
  interfaces: [fab0]
  cidrs: [10.91.0.0/24]
  mtu: 4096
  ports: ["50000-51000"]
  enforcedBy: host-firewall
"""


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[str, ...]:
    """The options for a log and a ruleset, in files."""
    (tmp_path / "nccl.log").write_text(samples.NEW_LOG)
    (tmp_path / "nft.json").write_text(ruleset([REDIRECT]))
    return "--nccl-log", str(tmp_path / "nccl.log"), "--nft", str(tmp_path / "nft.json")


async def test_the_question_is_answered_first(recorded: tuple[str, ...]):
    """Then each finding with place, cause, evidence and fix; errors end it with 3, unless nobody wants that."""
    done = await ringfence(*FABRIC, "--control-interface", "ctl0", *recorded)
    assert done.code == 3
    lines = done.out.splitlines()
    assert lines[:4] == [
        "is segmentation forcing collectives through",
        "  a firewall: yes (RF6008)",
        "  a proxy: yes (RF6011)",
        "  a layer-3 hop: yes (RF6006)",
    ]
    assert any(line.startswith(f"{recorded[1]}:10: error RF6008: packets leave") for line in lines)
    assert any("RF6011" in line and "excludeInterfaces" in line for line in lines)
    assert lines[-1].startswith("not judged, for nothing was given that shows it: RF6004")
    assert (await ringfence(*FABRIC, *recorded, "--fail-on", "never")).code == 0


async def test_json(recorded: tuple[str, ...]):
    """Cause, evidence and fix apart."""
    told = (await ringfence(*FABRIC, *recorded, "-o", "json")).json
    assert told["kind"] == "FabricDiagnosis"
    assert [(one["way"], one["forced"]) for one in told["answers"]][1] == ("proxy", "yes")
    (capture,) = [one for one in told["items"] if one["code"] == "RF6011"]
    assert capture["evidence"]["path"] == recorded[3]
    assert capture["cause"] == "a proxy takes the fabric's connections"
    assert "return" in capture["fix"]


async def test_sarif_and_junit(recorded: tuple[str, ...]):
    """In the tool's own name, and with its own rules."""
    sarif = (await ringfence(*FABRIC, *recorded, "-o", "sarif")).json["runs"][0]
    assert sarif["tool"]["driver"]["name"] == "ringfence fabric doctor"
    assert "RF6011" in {rule["id"] for rule in sarif["tool"]["driver"]["rules"]}
    junit = ET.fromstring((await ringfence(*FABRIC, *recorded, "-o", "junit")).out)  # noqa: S314 - our own text
    assert junit.get("name") == "ringfence fabric doctor"


async def test_a_document_declares_the_fabric(tmp_path: Path, recorded: tuple[str, ...]):
    """Its interfaces, networks and MTU; an option wins."""
    (tmp_path / "intent").mkdir()
    (tmp_path / "intent/fabric.yaml").write_text(DOCUMENT)
    (tmp_path / "ss").write_text(samples.SS)
    told = ("fabric", "doctor", "--dir", tmp_path / "intent", "--fabric", "fab", *recorded, "--ss", tmp_path / "ss")
    out = (await ringfence(*told)).out
    assert "takes TCP by fab0" in out
    assert "pmtu 1450 to 10.91.0.2, where the fabric has MTU 4096" in out
    assert "RF6007" not in (await ringfence(*told, "--mtu", "1400")).out
    assert "listens on every address, port 29500" in out
    assert (
        "no fabric is named x"
        in (await ringfence("fabric", "doctor", "--dir", tmp_path / "intent", "--fabric", "x")).err
    )
    assert (await ringfence("fabric", "doctor", "--fabric", "fab")).code == 2


async def test_files_alone_leave_the_node_alone(recorded: tuple[str, ...]):
    """Offline is what a log from elsewhere means."""
    assert "RDMA subsystem" not in (await ringfence(*FABRIC, *recorded)).out


async def test_counters_of_two_samples(tmp_path: Path):
    """Copies of sysfs, and of ethtool's output by interface."""
    for folder, value in (("before", 5), ("after", 9)):
        file = tmp_path / folder / "mlx5_0/ports/1/hw_counters/rx_icrc_encapsulated"
        file.parent.mkdir(parents=True)
        file.write_text(f"{value}\n")
    (tmp_path / "e0").write_text("     tx_vport_unicast_bytes: 1\n     tx_vport_rdma_unicast_bytes: 5\n")
    (tmp_path / "e1").write_text("     tx_vport_unicast_bytes: 999999999\n     tx_vport_rdma_unicast_bytes: 5\n")
    done = await ringfence(
        *FABRIC, "--sysfs", tmp_path / "after", "--sysfs-before", tmp_path / "before",
        "--ethtool", f"fab0={tmp_path}/e1", "--ethtool-before", f"fab0={tmp_path}/e0",
    )  # fmt: skip
    assert "rx_icrc_encapsulated grew by 4 since the first sample" in done.out
    assert "RF6004" in done.out


async def test_an_undeclared_fabric_is_not_judged(tmp_path: Path):
    """And the next step is said."""
    (tmp_path / "ss").write_text(samples.SS)
    done = await ringfence("fabric", "doctor", "--ss", tmp_path / "ss")
    assert "a proxy: not looked at" in done.out
    assert "give --dir, --interface or --cidr" in done.out


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--cidr", "fab0", "is no network"),
        ("--ethtool", "fab0", "is not IF=FILE"),
        ("--ethtool", "fab0=/no", "IF=FILE"),
    ],
)
async def test_an_option_that_is_wrong(option: str, value: str, said: str):
    """Named, with what was expected."""
    done = await ringfence("fabric", "doctor", "--offline", option, value)
    assert (done.code, said in done.err) == (2, True)


async def test_a_log_of_bytes_is_read_as_far_as_it_is_text(tmp_path: Path):
    """A rank that dies leaves what it leaves."""
    (tmp_path / "log").write_bytes(b"\xff\xfe\x00" * 99 + b"\n" + samples.NEW_LOG.encode())
    assert f"{tmp_path}/log:11" in (await ringfence(*FABRIC, "--nccl-log", tmp_path / "log")).out


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--interface", "fab0"), "--active needs a --peer"),
        (("--peer", "10.91.0.2"), "and an interface of the fabric"),
        (("--interface", "fab0", "--peer", "node2"), "is no IP address"),
        (("--interface", "fab0", "--peer", "10.91.0.2", "--offline"), "--offline does not"),
        (("--interface", "fab0", "--peer", "10.91.0.2", "--ib-write-bw", "-x"), "no device of RDMA"),
        (tuple(f"--{kind}={kind[0]}{at}" for kind in ("interface", "peer") for at in range(5)), "not 25"),
    ],
)
async def test_nothing_is_sent_by_half_an_order(told: tuple[str, ...], said: str):
    """Who is sent to, and by what, has to be said; it is refused before a packet leaves."""
    done = await ringfence("fabric", "doctor", "--active", *told)
    assert (done.code, said in done.err, "at most" in done.err) == (2, True, False)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--listen", "0.0.0.0", "--peer", "x"), "is no IP address"),
        (("--listen", "10.91.0.1", "--peer", "10.91.0.2", "--for", "1h"), "not within 1 s to 10 m"),
        (("--listen", "0.0.0.0", "--peer", "10.91.0.2"), "every address"),
        (("--listen", "::", "--peer", "fd91::2"), "every address"),
    ],
)
async def test_a_responder_is_for_one_address_and_a_while(told: tuple[str, ...], said: str):
    """Never on every address, never for ever."""
    done = await ringfence("fabric", "doctor", "respond", *told)
    assert (done.code, said in done.err) == (2, True)


MISTAKE = """
set -e
ip link set lo up
ip link add fab0 type veth peer name wire0
ip addr add 10.91.0.1/24 dev fab0
ip link set fab0 up
ip link set wire0 up
nft add table ip nat
nft add chain ip nat output '{ type nat hook output priority -100; }'
nft add rule ip nat output meta l4proto tcp redirect to :15001
"""
MENDED = "nft insert rule ip nat output oifname fab0 return\n"


@pytest.mark.slow
@pytest.mark.parametrize(("mended", "answer"), [("", "yes"), (MENDED, "no sign of it")])
def test_a_capture_of_the_fabric_made_on_purpose(mended: str, answer: str):
    """Live, in a network namespace: a redirect of all TCP is named with its rule and its fix, and the fix mends it."""
    parts.root()
    parts.program("nft", "nftables")
    parts.program("ip", "iproute2")
    unshare = parts.program("unshare", "util-linux")
    doctor = f"{sys.executable} -m ringfence.broker.cli fabric doctor --live --interface fab0 --peer 10.91.0.2 -o json"
    script = f"{MISTAKE}{mended}exec {doctor} --fail-on never"
    done = subprocess.run([unshare, "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {one["way"]: one["forced"] for one in told["answers"]}["proxy"] == answer
    captures = [one for one in told["items"] if one["code"] == "RF6011"]
    assert len(captures) == (0 if mended else 1)
    for one in captures:
        assert "ip nat output handle" in one["evidence"]["message"]
        assert 'oifname "fab0" return' in one["fix"]
    rdma = [note for note in told["notes"] if "no RDMA subsystem" in note]
    assert bool(rdma) is not Path("/sys/class/infiniband").is_dir()
