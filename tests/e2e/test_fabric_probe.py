"""`ringfence fabric doctor --active` between namespaces: it finds what no table shows, and keeps to what it says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.fabric_hop import JUMBO, SMALL, Hop
from tests.e2e.fabric_nodes import COLLECTIVE, PATIENCE, STORE, Nodes
from tests.e2e.test_fabric_apply import INTENT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("fabric-probe")]

RESPONDER = COLLECTIVE + 100  # inside the test's own namespaces


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """On one wire, with a store on every address of both."""
    folder = tmp_path_factory.mktemp("intent")
    (folder / "fabric.yaml").write_text(INTENT)
    with ExitStack() as exits:
        yield Nodes(folder, exits)


@pytest.fixture(scope="module")
def hop() -> Iterator[Hop]:
    """With a router between them that nobody was told of."""
    with ExitStack() as exits:
        yield Hop(exits)


@pytest.fixture
def responder(nodes: Nodes) -> Iterator[subprocess.Popen[str]]:
    """On the peer, for the rank alone."""
    told = ("--listen", nodes.PEER, "--port", str(RESPONDER), "--peer", nodes.RANK, "--for", "60s")
    command = nodes.within(nodes.peer, *nodes.command("doctor", "respond", *told))
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "answering 10.91.0.1" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def asked(*more: str) -> tuple[str, ...]:
    """The command, but for where it runs."""
    told = ("--live", "--interface", "fab0", "--peer", Nodes.PEER, "--fail-on", "never", "-o", "json", *more)
    return Nodes.command("doctor", *told)


def told_by(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """What the probe's findings say, by code."""
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {}
    for one in json.loads(done.stdout)["items"]:
        if one["evidence"]["path"].startswith("probe of"):
            found.setdefault(one["code"], []).append(one["evidence"]["message"])
    return found


def counted(nodes: Nodes) -> dict[str, int]:
    """What the rank has sent: echo requests, connections, and bytes on the fabric."""
    snmp = nodes.inside("cat", "/proc/net/snmp").stdout.splitlines()
    rows: dict[str, Any] = {}
    for names, values in zip(snmp[::2], snmp[1::2], strict=True):
        rows[names.partition(":")[0]] = dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    sent = nodes.inside("cat", "/sys/class/net/fab0/statistics/tx_bytes").stdout
    return {"echoes": rows["Icmp"]["OutEchos"], "connections": rows["Tcp"]["ActiveOpens"], "bytes": int(sent)}


def test_without_the_flag_nothing_is_sent(nodes: Nodes) -> None:
    """Though a peer is named."""
    before = counted(nodes)
    done = nodes.inside(*asked())
    assert done.returncode == 0, done.stderr
    after = counted(nodes)
    assert (after["echoes"], after["connections"]) == (before["echoes"], before["connections"])


@pytest.mark.usefixtures("responder")
def test_a_probe_keeps_to_what_it_said(nodes: Nodes) -> None:
    """Count, bytes and time are told before; the kernel counted no more. The open store is found, and no hop."""
    before = counted(nodes)
    done = nodes.inside(*asked("--active", "--probe-port", str(RESPONDER), "--probe-mib", "4"))
    after = counted(nodes)
    found = told_by(done)
    assert found.keys() <= {"RF6013", "RF6014"}  # how fast this machine is, is its own affair
    assert found["RF6014"] == [f"port {STORE} of {nodes.PEER} takes a connection, and speaks no TLS"]
    most = re.search(r"at most: (\d+) echo requests of 1500 bytes or less; (\d+) connections", done.stderr)
    sent = re.search(r"sent: (\d+) echo requests, (\d+) connections, (\d+) bytes to a responder", done.stderr)
    assert most is not None, done.stderr
    assert sent is not None, done.stderr
    echoes, ports = int(most[1]), int(most[2])
    assert int(sent[1]) == after["echoes"] - before["echoes"] <= echoes
    assert int(sent[2]) <= ports + 1  # the responder's
    assert after["connections"] - before["connections"] <= ports + 1
    assert int(sent[3]) == 4 << 20
    assert after["bytes"] - before["bytes"] < (4 << 20) * 1.25 + echoes * 1500
    assert "no responder" not in done.stdout


@pytest.mark.usefixtures("responder")
def test_through_a_fabrics_filter_a_member_is_probed_and_its_store_is_closed(nodes: Nodes) -> None:
    """Echoes and the fabric's ports pass, so that the probe is whole, and the hole of before is none any more."""
    nodes.apply(nodes.RANK, nodes.PEER)
    try:
        done = nodes.inside(*asked("--active", "--probe-port", str(RESPONDER), "--probe-mib", "1"))
    finally:
        nodes.fabric("remove", "team-a/fab")
    assert told_by(done).keys() <= {"RF6013"}
    assert not [note for note in json.loads(done.stdout)["notes"] if "no responder" in note or "no echo" in note]
    assert f"{1 << 20} bytes to a responder" in done.stderr


def test_without_a_responder_the_rest_is_judged(nodes: Nodes) -> None:
    """And nothing is sent to what listens there instead."""
    done = nodes.inside(*asked("--active", "--probe-port", str(COLLECTIVE)))
    assert any("no responder at 10.91.0.2, port 50000" in note for note in json.loads(done.stdout)["notes"])
    assert ", 0 bytes to a responder" in done.stderr
    assert "RF6014" in told_by(done)


def test_a_responder_answers_its_peer_alone(nodes: Nodes, responder: subprocess.Popen[str]) -> None:
    """A neighbour is hung up on; it listens nowhere else, and ends in time."""
    talk = nodes.opened(nodes.peer, nodes.STRANGER, nodes.PEER, RESPONDER, PATIENCE)
    assert talk.communicate()[0].strip() in {"", "ConnectionResetError"}
    assert nodes.reaches(nodes.rank, nodes.RANK_CONTROL, nodes.PEER_CONTROL, RESPONDER) == "ConnectionRefusedError"
    assert responder.poll() is None


def test_a_router_that_no_route_shows_is_a_hop(hop: Hop) -> None:
    """It answers for the peer's address; a packet that may cross no router says what it is."""
    done = hop.inside(hop.rank, *asked("--active"))
    found = told_by(done)
    assert found["RF6005"] == [f"{hop.PEER} answers, and not to packets that may cross no router (hop limit 1)"]
    routes = [one for one in json.loads(done.stdout)["items"] if one["code"] == "RF6005"]
    assert [one["evidence"]["path"] for one in routes] == [f"probe of {hop.PEER} by fab0"]
    answers = {one["way"]: one["forced"] for one in json.loads(done.stdout)["answers"]}
    assert answers["layer-3 hop"] == "yes"


def test_a_hop_that_takes_small_packets_is_found_to_the_byte(hop: Hop) -> None:
    """Where the fabric is said to have jumbo frames, and where its interface has."""
    done = hop.inside(hop.rank, *asked("--active"))
    (message,) = told_by(done)["RF6007"]
    assert message.startswith(f"packets of {SMALL} bytes reach {hop.PEER} whole, where the fabric has MTU {JUMBO}")
    assert "RF6007" not in told_by(hop.inside(hop.rank, *asked("--active", "--mtu", str(SMALL))))


def test_a_peer_that_is_not_there_is_not_judged(hop: Hop) -> None:
    """It is no finding that nobody answers; the note says what is not known."""
    done = hop.inside(hop.rank, *Nodes.command(
        "doctor", "--live", "--interface", "fab0", "--active", "--peer", "10.91.0.9", "-o", "json", "--fail-on", "never"
    ))  # fmt: skip
    assert told_by(done) == {}
    assert any("10.91.0.9 answers no echo" in note for note in json.loads(done.stdout)["notes"])
