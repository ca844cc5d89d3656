"""The training job's network, in both frameworks."""

import json
import math
import subprocess

import pytest

from ringfence.broker.demo.workloads import job
from tests import parts

RECIPE = job.Recipe(hidden=16, learning_rate=0.05, epochs=60, mean=[0.0] * 4, scale=[0.58] * 4)
ROWS = [
    (*xs, math.sin(3 * xs[0]) + xs[1] * xs[2] - 0.5 * xs[3])
    for xs in ([math.cos(i * prime) for prime in (1.0, 2.3, 3.7, 5.1)] for i in range(256))
]


def test_numpy_learns_the_same_every_time():
    """Without torch the job still trains, says so, and its checkpoint holds the weights of both layers."""
    trained = job.train(ROWS, RECIPE, framework="numpy")
    assert trained == job.train(ROWS, RECIPE, framework="numpy")
    assert trained.framework.startswith("numpy")
    assert trained.loss_after < trained.loss_before / 2
    assert {name: len(weight) for name, weight in trained.weights.items()} == {
        "0.weight": 16, "0.bias": 16, "2.weight": 1, "2.bias": 1,
    }  # fmt: skip


def test_numpy_stands_in_where_there_is_no_torch(monkeypatch: pytest.MonkeyPatch):
    """Asked for torch, the job goes on without it and names what it used."""
    monkeypatch.setattr(job, "find_torch", lambda: None)
    assert job.train(ROWS, RECIPE).framework.startswith("numpy")


@pytest.mark.torch
@pytest.mark.slow
def test_torch_learns():
    """Real PyTorch, of this interpreter or the system's, trains the network; its packages come last on the path."""
    code = (
        "import json, sys; from tests.broker.demo.workloads.test_job import ROWS, RECIPE, job;"
        "t = job.train(ROWS, RECIPE); import cryptography;"
        "print(json.dumps([t.framework, t.loss_before, t.loss_after, sys.path[-1], cryptography.__file__]))"
    )
    done = subprocess.run([parts.torch(), "-c", code], capture_output=True, text=True, check=True, timeout=100)
    framework, before, after, last, ours = json.loads(done.stdout.splitlines()[-1])
    assert framework.startswith("torch ")
    assert last != job.SYSTEM_PACKAGES or not ours.startswith(job.SYSTEM_PACKAGES)
    assert after < before / 2
