"""Ranks that a real Slurm starts: each an identity of its own, met through proxies, computing on a fabric."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.fabric_cluster import SERVER, Cluster
from tests.e2e.fabric_ranks import DATA, INTENT, ROUNDS, SCRIPT, TORCH_1_13, bounded, decided, python, sent
from tests.e2e.slurm import Place, Slurm
from tests.e2e.stack import RINGFENCE

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("slurm")]

# The workload is started in the first step of a job, and nowhere else.
_IN_A_STEP = INTENT.replace("launch: {by: [{unix.uid: 0}]}", 'launch: {by: [{unix.uid: 0, slurm.step: "0"}]}')
_RUN = (*RINGFENCE, "run", "--name", "trainer", "--namespace", "team-a", "--fabric", "fab")
# What docs/slurm.md has a batch script say, for nodes that are namespaces of one machine.
_RANK = """
export XDG_RUNTIME_DIR={folder}/rank$SLURM_PROCID SAID={folder}/rank$SLURM_PROCID/said ENOUGH={folder}
mkdir $XDG_RUNTIME_DIR
exec {run} --rank $SLURM_PROCID --inbound-host 10.90.0.$((SLURM_NODEID + 1)) \\
    --socket {folder}/agent$((SLURM_NODEID + 1)).sock -- \\
    {python} -m torch.distributed.run --nnodes $SLURM_NNODES --nproc_per_node 1 {folder}/train.py
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server and two nodes of a fabric, with an agent each."""
    with TemporaryDirectory(prefix="rf") as folder, ExitStack() as exits:
        yield Cluster(Path(folder), exits, _IN_A_STEP)


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Slurm]:
    """The same two nodes as Slurm has them, on the control network."""
    folder = cluster.folder / "slurm"
    folder.mkdir()
    with ExitStack() as exits:
        nodes = {
            f"n{os.getpid()}f{number}": Place(node.control, tuple(cluster.within(node.name)))
            for number, node in enumerate(cluster.nodes)
        }
        made = Slurm(folder, exits, nodes, "", Place(SERVER, tuple(cluster.within(cluster.hub))))
        made.start()
        yield made


def test_srun_starts_ranks_that_meet_by_mutual_tls_and_compute_on_the_fabric(cluster: Cluster, slurm: Slurm) -> None:
    """The bytes of the collectives are on the fabric; what the rule let in is rank 1; by hand nothing starts."""
    (cluster.folder / "train.py").write_text(SCRIPT)
    for node in cluster.nodes:
        bounded(node)
    before = [(sent(node, "fab0"), sent(node, "ctl0")) for node in cluster.nodes]
    text = _RANK.format(folder=cluster.folder, run=" ".join(_RUN), python=python())
    step = ("srun", "-N2", "--ntasks-per-node=1", "-t", "5", "sh", "-c", text)
    done = slurm.as_user(0, 0, *step, **TORCH_1_13)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"sum {2**ROUNDS}\n") == 2
    for node, (fabric, control) in zip(cluster.nodes, before, strict=True):
        assert sent(node, "fab0") - fabric > DATA
        assert sent(node, "ctl0") - control < DATA / 20
        node.holds()
    assert decided(cluster, "team-a/ranks-meet").source == "spiffe://example.org/ns/team-a/job/llama/rank/1"

    first = cluster.nodes[0]
    by_hand = cluster.within(first.name, *_RUN, "--socket", str(first.socket), "--rank", "0", "--", "true")
    assert subprocess.run(by_hand, capture_output=True, check=False).returncode == 5
