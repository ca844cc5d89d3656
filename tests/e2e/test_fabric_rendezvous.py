"""Ranks meet through mutual TLS and compute on the fabric: torchrun and gloo in namespaces, behind real Envoys."""

from __future__ import annotations

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
from tests.e2e.fabric_ranks import BYTES, ROUNDS, STORE, Rank, bounded, decided, ranks, sent
from tests.e2e.stack import authority_of

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("fabric-rendezvous")]

INTENT = f"""
kind: Mesh
spec: {{trustDomain: example.org}}
---
kind: Fabric
metadata: {{name: fab, namespace: team-a}}
spec:
  kind: tcp
  interfaces: [fab0]
  cidrs: [10.91.0.0/24]
  ports: ["50001-51000"]
  tenants: [team-a]
  enforcedBy: host-firewall
---
kind: Workload
metadata: {{name: trainer, namespace: team-a}}
spec:
  role: training
  job: llama
  launch: {{by: [{{unix.uid: 0}}]}}
  serves: [{{name: c10d, port: {STORE}, protocol: tcp}}]
---
kind: Allow
metadata: {{name: ranks-meet, namespace: team-a}}
spec: {{from: [{{workload: trainer}}], to: [{{workload: trainer, port: c10d}}], owner: o, reason: r}}
---
kind: FabricGrant
metadata: {{name: llama, namespace: team-a}}
spec:
  {{fabric: {{name: fab}}, identities: [{{workload: trainer}}], job: llama, expires: 2999-01-01T00:00:00Z,
   owner: o, reason: r}}
"""
OTHER_JOB = "/ns/team-b/job/bert/rank/0"
DATA = BYTES * ROUNDS


class Job:
    """Both ranks, after their collectives, and what left each node by which wire meanwhile."""

    def __init__(self, cluster: Cluster, exits: ExitStack) -> None:
        self.cluster = cluster
        for node in cluster.nodes:
            bounded(node)
        before = [(sent(node, "fab0"), sent(node, "ctl0")) for node in cluster.nodes]
        flags = [("--inbound-host", node.control) for node in cluster.nodes]
        self.ranks = ranks(cluster, exits, flags)
        self.sums = [rank.summed() for rank in self.ranks]
        after = [(sent(node, "fab0"), sent(node, "ctl0")) for node in cluster.nodes]
        self.fabric, self.control = zip(
            *[(a[0] - b[0], a[1] - b[1]) for a, b in zip(after, before, strict=True)], strict=True
        )

    @property
    def first(self) -> Rank:
        """That which has the store."""
        return self.ranks[0]


@pytest.fixture(scope="module")
def job() -> Iterator[Job]:
    """Started once; its ranks stay until the tests have looked."""
    with TemporaryDirectory(prefix="rf") as folder, ExitStack() as exits:
        yield Job(Cluster(Path(folder), exits, INTENT), exits)


def connects(job: Job, source: Node | str, host: str, port: int) -> bool:
    """Whether a TCP connection comes about."""
    name = source if isinstance(source, str) else source.name
    code = f"import socket; socket.create_connection(({host!r}, {port}), {PATIENCE if host == '127.0.0.1' else SHORT})"
    return (
        subprocess.run(
            job.cluster.within(name, sys.executable, "-c", code), capture_output=True, check=False
        ).returncode
        == 0
    )


def test_collective_bytes_are_on_the_fabric_only(job: Job) -> None:
    """Each of two ranks sends every byte once; the control wire and the proxies carry what finds them and no more."""
    assert job.sums == [2**ROUNDS] * 2
    for fabric, control, rank in zip(job.fabric, job.control, job.ranks, strict=True):
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


def test_ranks_that_are_let_end_take_all_with_them(job: Job) -> None:
    """Exit code 0; the members are gone, and the port is nobody's."""
    for rank in job.ranks:
        rank.enough()
    assert [rank.code() for rank in job.ranks] == [0, 0]
    for node in job.cluster.nodes:
        node.holds()
