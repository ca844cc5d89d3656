"""The training job as a process: what it asks its upstreams for, prints and returns."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.demo.workloads import hub, registry, trainer
from tests.broker.demo.workloads.test_features import started


@contextmanager
def serving(folder: Path, handler: type[registry.RegistryHandler], seeds: dict[str, Any]) -> Iterator[str]:
    """The address of a plain registry, as a proxy would offer it."""
    registry.seed(folder, seeds)
    with registry.serve(folder, 0, handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The address of a filled feature store: its socket folder stands in for the proxy's port."""
    (folder / "s").mkdir(mode=0o700, parents=True)
    names = {"DATA": folder / "data", "RINGFENCE_SOCKET_DIR": folder / "s", "READY_FILE": folder / "ready"}
    env = os.environ | {name: str(path) for name, path in names.items()}
    with started(env, folder / "ready"):
        yield f"{folder / 's'}:5432"


def run(env: dict[str, str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, printed lines and stderr of one job."""
    done = subprocess.run(
        [sys.executable, trainer.__file__],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.postgres
@pytest.mark.slow
def test_the_job_reads_pulls_trains_and_pushes(tmp_path: Path):
    """Five calls with their answers and traces, then the losses; a refused call ends the job with code 1."""
    with ExitStack() as stack:
        env = {
            "RINGFENCE_DEMO_FRAMEWORK": "numpy",
            trainer.FEATURES: stack.enter_context(database(tmp_path / "db")),
            trainer.REGISTRY: stack.enter_context(serving(tmp_path / "r", registry.RegistryHandler, registry.SEEDS)),
            trainer.HUB: stack.enter_context(serving(tmp_path / "h", hub.HubHandler, hub.SEEDS)),
        }
        code, lines, stderr = run(env)
        assert (code, stderr) == (0, "")
        assert [(line["call"], line["status"]) for line in lines[:-1]] == [
            ("select rows", 200),
            ("GET /models/shared/base", 200),
            ("GET /models/base", 200),
            ("PUT /models/team-a/checkpoint", 201),
            ("GET /models/team-a/checkpoint", 200),
        ]
        assert len({line["trace"] for line in lines[1:-1]}) == 4
        assert lines[-1]["loss_after"] < lines[-1]["loss_before"] / 2
        assert (lines[-1]["rows"], lines[-1]["epochs"]) == (512, 60)
        (tmp_path / "r" / "shared" / "base").unlink()
        code, lines, stderr = run(env)
        assert (code, lines[-1]["status"]) == (1, 404)
        assert "Traceback" not in stderr


def test_a_job_outside_of_run_says_what_is_missing():
    """Without its environment the job names the variable and the command that sets it."""
    code, lines, stderr = run({})
    assert (code, lines) == (1, [])
    assert stderr == "RINGFENCE_UPSTREAM_FEATURES_POSTGRES is not set. Start this with `ringfence run`\n"


def test_an_upstream_that_is_not_there_ends_the_job():
    """A refused connection is one line with the error, not a traceback."""
    code, lines, stderr = run({trainer.FEATURES: "127.0.0.1:1"})
    assert (code, lines[0]["status"], stderr) == (1, 0, "")
