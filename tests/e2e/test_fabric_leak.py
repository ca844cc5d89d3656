"""`ringfence fabric leak-test` around real PyTorch on two nodes: a clean job passes, each way to leak is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import parts
from tests.e2e.fabric_capture import captured
from tests.e2e.fabric_nodes import PATIENCE, STORE, Nodes
from tests.e2e.test_fabric_apply import INTENT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.envoy,
    pytest.mark.xdist_group("fabric-leak"),
]

RANK = str(Path(__file__).parents[1] / "ranks" / "collective.py")
SIZE, TIMES = 8 << 20, 12
MOVED = 2 * SIZE * (TIMES + 1)  # bytes of an all-reduce of two, both ways
SEND = """
import socket, sys
source, target, port = sys.argv[1:]
with socket.create_connection((target, int(port)), 20, (source, 0)) as line:
    while True:
        line.sendall(bytes(1 << 16))
        line.recv(1)
"""
SWALLOW = """
import socket
server = socket.create_server(("10.91.0.1", 50999))
print("up", flush=True)
line = server.accept()[0]
while data := line.recv(1 << 16):
    line.sendall(b"x")
"""


class Bench:
    """Two nodes and what runs on them."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.nodes, self.folder = nodes, folder
        self.python = parts.torch()
        for name in (nodes.rank, nodes.peer):
            nodes.ip("netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_local_port_range=50001 50900")

    @contextmanager
    def other_rank(self, environment: dict[str, str]) -> Iterator[None]:
        """Rank 1, on the node `peer`; it ends well."""
        command = ["ip", "netns", "exec", self.nodes.peer, self.python, RANK, "1", "2", str(SIZE), str(TIMES)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as other:
            try:
                yield
                said = other.communicate(timeout=PATIENCE)[1]
                assert other.returncode == 0, said.decode()
            finally:
                other.kill()

    def tested(self, interface: str, *options: str, output: str = "json") -> tuple[int, str]:
        """The leak test around rank 0 on the node `rank`, which reduces by *interface*; its exit code and output."""
        store = {"MASTER_ADDR": Nodes.RANK_CONTROL, "MASTER_PORT": "29600", "GLOO_SOCKET_IFNAME": interface}
        environment = {**os.environ, **store}
        job = ("--job", "llama", "-o", output, *options, "--", self.python, RANK, "0", "2", str(SIZE), str(TIMES))
        command = self.nodes.command("leak-test", "fab", *self.nodes.intent, *job)
        with self.other_rank(environment):
            done = subprocess.run(
                ["ip", "netns", "exec", self.nodes.rank, *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        assert done.stdout, done.stderr
        return done.returncode, done.stdout

    def parts(self, interface: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code, and each part by its name."""
        code, text = self.tested(interface)
        return code, {one["part"]: one for one in json.loads(text)["items"]}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Made once; a test that applies the fabric removes it. A short folder: it holds an admin socket."""
    with TemporaryDirectory(prefix="rf-") as name, ExitStack() as exits:
        folder = Path(name)
        (folder / "intent").mkdir()
        (folder / "intent" / "fabric.yaml").write_text(INTENT)
        yield Bench(Nodes(folder / "intent", exits), folder)


@pytest.fixture
def applied(bench: Bench) -> Iterator[Bench]:
    """With both ranks as members on the node that is looked at."""
    bench.nodes.apply(Nodes.RANK, Nodes.PEER)
    yield bench
    bench.nodes.fabric("remove", "team-a/fab")


def test_a_clean_job_is_proved_clean(applied: Bench) -> None:
    """Rendezvous on the control wire, the collective on the fabric, nothing else there: all four, with numbers."""
    code, told = applied.parts("fab0")
    assert {name: one["verdict"] for name, one in told.items()} == {
        "fabric": "proved", "control": "proved", "proxies": "proved", "strangers": "proved",
    }, told  # fmt: skip
    assert code == 0
    moved = int(told["fabric"]["because"].split("moved ")[1].split(" ")[0].replace(",", ""))
    assert MOVED <= moved < 1.2 * MOVED
    assert any("between members of team-a/llama" in line for line in told["strangers"]["figures"])


def test_without_a_filter_it_is_proved_by_sockets(bench: Bench) -> None:
    """And says that there is none."""
    code, told = bench.parts("fab0")
    assert {one["verdict"] for one in told.values()} == {"proved"}, told
    assert code == 0
    assert told["strangers"]["figures"][-1] == "the fabric has no packet filter of Ringfence's here"


def test_a_collective_on_the_control_wire_is_caught(bench: Bench) -> None:
    """E1b: one variable decides, and nothing enforces it."""
    code, told = bench.parts("ctl0")
    assert code == 3
    assert told["control"]["verdict"] == "leak"
    assert f"from {Nodes.RANK_CONTROL}" in told["control"]["figures"][1]
    assert told["fabric"]["verdict"] == "not proved"


def test_a_capture_is_caught(bench: Bench) -> None:
    """E3: an interface's counters look as ever; whose the sockets are, loopback and Envoy's counters do not."""
    with captured(bench.nodes.rank, bench.folder):
        code, told = bench.parts("fab0")
    assert code == 3
    assert told["proxies"]["verdict"] == "leak"
    assert any("has envoy (" in line for line in told["proxies"]["figures"]), told["proxies"]
    assert any("captured.sock exchanged" in line for line in told["proxies"]["figures"]), told["proxies"]
    assert told["strangers"]["verdict"] == "leak"


def test_a_strangers_traffic_is_caught(bench: Bench) -> None:
    """Somebody else on the wire talks to another program of this node while the job runs."""
    nodes = bench.nodes
    talk = (SEND, Nodes.STRANGER, Nodes.RANK, "50999")
    with running(nodes.rank, SWALLOW) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        with running(nodes.peer, *talk):
            code, told = bench.parts("fab0")
    assert code == 3
    assert told["strangers"]["verdict"] == "leak"
    assert f"to {Nodes.STRANGER}:" in told["strangers"]["figures"][0]
    assert told["control"]["verdict"] == "proved"


@contextmanager
def running(namespace: str, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Python on a node, until the block ends."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_whoever_the_filter_refuses_is_told_of_and_no_leak(applied: Bench) -> None:
    """It came as far as the adapter."""
    nodes = applied.nodes
    knocking = nodes.opened(nodes.peer, nodes.STRANGER, nodes.RANK, STORE, PATIENCE)
    code, told = applied.parts("fab0")
    knocking.kill()
    assert code == 0
    assert any("refused" in line and "coming in" in line for line in told["strangers"]["figures"]), told["strangers"]


def test_it_is_a_suite_for_ci(bench: Bench) -> None:
    """A case for each claim; what is open is skipped, and fails where that is asked for."""
    code, text = bench.tested("ctl0", output="junit")
    assert code == 3
    assert 'tests="4" failures="1" errors="0" skipped="1"' in text
    assert '<failure message="the job' in text


def test_what_runs_already_is_watched_until_it_is_told_to_stop(applied: Bench) -> None:
    """By the process that it is named, with what is below that; TERM has it answer at once."""
    nodes = applied.nodes
    store = {"MASTER_ADDR": Nodes.RANK_CONTROL, "MASTER_PORT": "29601", "GLOO_SOCKET_IFNAME": "fab0"}
    environment = {**os.environ, **store}
    rank = ["sh", "-c", f"{applied.python} {RANK} 0 2 {SIZE} {TIMES}; read -r enough"]
    named = ("leak-test", "fab", *nodes.intent, "--job", "llama", "-o", "json", "--pid")
    with subprocess.Popen(
        ["ip", "netns", "exec", nodes.rank, *rank], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        command = ["ip", "netns", "exec", nodes.rank, *nodes.command(*named, str(job.pid))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as test:
            with applied.other_rank(environment):
                assert job.stdout is not None
                assert job.stdout.readline().startswith(b"{")
            test.terminate()
            out, err = test.communicate(timeout=PATIENCE)
        job.kill()
    assert test.returncode == 0, out + err
    told = {one["part"]: one["verdict"] for one in json.loads(out)["items"]}
    assert told["control"] == told["proxies"] == "proved", out
