"""Ranks in captured networks: everything that they say goes to their proxies, but not what is the fabric's.

They are plain programs that meet by their environment (`env://`), without torchrun.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.fabric_cluster import SERVER, Cluster
from tests.e2e.fabric_nodes import STORE as ECHO
from tests.e2e.fabric_ranks import DATA, INTENT, ROUNDS, Job

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("fabric-captured")]


@pytest.fixture(scope="module")
def job() -> Iterator[Job]:
    """Nodes are captured networks, in which their agents are too; the proxies of both are in the server's."""
    with TemporaryDirectory(prefix="rf") as folder, ExitStack() as exits:
        cluster = Cluster(Path(folder), exits, INTENT)
        first, second = cluster.nodes
        assert cluster.reaches(first.name, first.control, second.control, ECHO) == "x"
        flags = [
            (
                "--inbound-host",
                SERVER,
                "--capture",
                "--netns",
                f"/run/netns/{node.name}",
                "--exclude-cidr",
                f"{SERVER}/32",
            )
            for node in cluster.nodes
        ]
        yield Job(cluster, exits, [(*one, "--rendezvous", "c10d") for one in flags], cluster.hub, torchrun=False)


def test_a_captured_network_reaches_nothing_but_its_proxy(job: Job) -> None:
    """The way between the nodes that was there before: the proxy takes it, and closes it."""
    first, second = job.cluster.nodes
    assert job.cluster.reaches(first.name, first.control, second.control, ECHO) in {"", "ConnectionResetError"}


def test_no_collective_byte_is_captured(job: Job) -> None:
    """The agent says what the fabric is, and that is left alone: no flag names its interface or its network."""
    assert job.sums == [2**ROUNDS] * 2
    for (fabric, control), rank in zip(job.sent, job.ranks, strict=True):
        assert fabric > DATA
        assert control < DATA / 50
        assert 0 < rank.proxied() < DATA / 500


def test_a_rank_that_is_revoked_is_ended(job: Job) -> None:
    """It is in the job no more, and is told so; the others go on."""
    job.cluster.ringfence("identity", "revoke", "spiffe://example.org/ns/team-a/job/llama/rank/1", "--reason", "test")
    last = job.ranks[1]
    assert last.code() == 5
    assert "the command ends, since it may not be in job team-a/llama on fabric team-a/fab any more" in last.log
    first, _ = job.cluster.nodes
    first.holds(first.address)
    assert job.first.process is not None
    assert job.first.process.poll() is None
