"""Ranks meet through mutual TLS and compute on the fabric: torchrun and gloo in namespaces, behind real Envoys."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ringfence.certs.spiffe_id import SpiffeId
from tests.e2e.fabric_cluster import Cluster, Node
from tests.e2e.fabric_nodes import PATIENCE, SHORT
from tests.e2e.fabric_ranks import DATA, INTENT, ROUNDS, STORE, Decoy, Job, decided
from tests.e2e.plane import until
from tests.e2e.stack import authority_of

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("fabric-rendezvous")]

OTHER_JOB = "/ns/team-b/job/bert/rank/0"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server and two nodes."""
    with TemporaryDirectory(prefix="rf") as folder, ExitStack() as exits:
        yield Cluster(Path(folder), exits, INTENT)


@pytest.fixture(scope="module")
def decoy(cluster: Cluster) -> Iterator[Decoy]:
    """There before the ranks are."""
    with ExitStack() as exits:
        yield Decoy(cluster, exits)


@pytest.fixture(scope="module")
def job(cluster: Cluster, decoy: Decoy) -> Iterator[Job]:
    """Started once; its ranks stay until the tests have looked."""
    assert decoy.heard == b""
    with ExitStack() as exits:
        yield Job(cluster, exits, [("--inbound-host", node.control) for node in cluster.nodes])


def connects(job: Job, source: Node | str, host: str, port: int) -> bool:
    """Whether a TCP connection comes about."""
    name = source if isinstance(source, str) else source.name
    patience = PATIENCE if host == "127.0.0.1" else SHORT
    code = f"import socket; socket.create_connection(({host!r}, {port}), {patience})"
    command = job.cluster.within(name, sys.executable, "-c", code)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_collective_bytes_are_on_the_fabric_only(job: Job) -> None:
    """Each of two ranks sends every byte once; the control wire and the proxies carry what finds them and no more."""
    assert job.sums == [2**ROUNDS] * 2
    for (fabric, control), rank in zip(job.sent, job.ranks, strict=True):
        assert fabric > DATA
        assert control < DATA / 50
        assert rank.proxied() < DATA / 500


def test_the_ranks_met_through_both_proxies(job: Job) -> None:
    """The rendezvous is on record, by its rule: rank 1 called, and only rank 0 was there to be called."""
    assert all(rank.proxied() > 0 for rank in job.ranks)
    inbound = [set(rank.bootstrap["node"]["metadata"]["ringfence"]["inbound"]) for rank in job.ranks]
    assert inbound == [{"c10d"}, set()]
    found = decided(job.cluster, "team-a/ranks-meet")
    assert found.allowed
    assert found.source == "spiffe://example.org/ns/team-a/job/llama/rank/1"


def test_nobody_takes_another_rank_for_the_first(job: Job, decoy: Decoy) -> None:
    """The server sends callers to whoever serves the port: of the job's identities they speak to rank 0 alone."""
    code = f"""
import socket
request = b"\\x03" + (4).to_bytes(8, "little") + b"seen" + bytes(8)  # TCPStore: ADD, a key, what to add
lines = [socket.create_connection(("127.0.0.1", {STORE}), {PATIENCE}) for _ in range(8)]
for line in lines:
    line.sendall(request)
print(sum(line.recv(8) == bytes(8) for line in lines))
"""
    said = job.cluster.nodes[1].run(sys.executable, "-c", code)
    assert (said, decoy.heard) == ("8\n", b"")


def test_the_store_listens_for_everybody_and_nobody_reaches_it(job: Job) -> None:
    """PyTorch binds every address: by fabric and control wire, a member and a stranger find it closed."""
    first, second = job.cluster.nodes
    assert f"*:{STORE}" in first.run("ss", "-Hltn")
    assert connects(job, first, "127.0.0.1", STORE)
    for host in (first.address, first.control):
        assert not connects(job, second, host, STORE)
    assert not connects(job, job.cluster.stranger, first.address, STORE)


@pytest.mark.parametrize("path", [OTHER_JOB, "/ns/team-a/sa/trainer", "/ns/team-a/job/llama/rank/x"])
def test_an_identity_of_no_rank_is_refused_at_the_rendezvous(job: Job, path: str) -> None:
    """Though the same authority vouches for it: TLS is not the leave to be there."""
    assert dialled(job, path) == "closed"
    assert dialled(job, "/ns/team-a/job/llama/rank/1") == "open"


def dialled(job: Job, path: str) -> str:
    """What becomes of a connection of that identity to rank 0's proxy, by the first byte of a request to the store."""
    domain = authority_of(job.cluster.folder / "server")
    domain.issue(SpiffeId(domain.name, path)).client(job.cluster.folder)
    host, _, port = job.first.bootstrap["node"]["metadata"]["ringfence"]["inbound"]["c10d"].rpartition(":")
    code = f"""
import socket, ssl
context = ssl._create_unverified_context(ssl.PROTOCOL_TLS_CLIENT)
context.load_cert_chain({str(job.cluster.folder / "id.pem")!r})
try:
    with context.wrap_socket(socket.create_connection(({host!r}, {port}), {PATIENCE})) as line:
        line.sendall(bytes(1))
        line.settimeout({SHORT})
        print("closed" if line.recv(1) == b"" else "answered")
except TimeoutError:
    print("open")
except ConnectionError:
    print("closed")
"""
    return job.cluster.nodes[1].run(sys.executable, "-c", code).strip()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_comes_back_is_joined_again(job: Job, how: signal.Signals) -> None:
    """What the kernel holds stays meanwhile; the port is closed by the new one too."""
    first, second = job.cluster.nodes
    again = "joined job team-a/llama on fabric team-a/fab again"
    before = job.first.log.count(again)
    first.stop(how)
    assert set(first.members()) == {first.address, second.address}
    assert not connects(job, second, first.control, STORE)
    first.start()
    until(lambda: job.first.log.count(again) > before, "another Join", 60)
    first.holds(first.address, second.address)
    assert not connects(job, second, first.control, STORE)
    assert [rank.process.poll() for rank in job.ranks if rank.process] == [None, None]


def test_ranks_that_are_let_end_take_all_with_them(job: Job) -> None:
    """Exit code 0; the members are gone, and the port is nobody's."""
    assert job.end() == [0, 0]
    for node in job.cluster.nodes:
        node.holds()
