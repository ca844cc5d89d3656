"""Real Envoys below an operator's root: they accept each other's chains, by the root alone, over a rotation too."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.ca import new_pki
from tests.e2e.learned import learned_mesh
from tests.e2e.plane import until
from tests.e2e.proxies import Caller
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A mesh whose server is told of its upstream by the environment."""
    pki = new_pki(tmp_path / "pki")
    monkeypatch.setenv("RINGFENCE_UPSTREAM_CERT", str(pki.signing))
    monkeypatch.setenv("RINGFENCE_UPSTREAM_KEY", str(pki.key))
    monkeypatch.setenv("RINGFENCE_UPSTREAM_ROOTS", str(pki.root))
    with learned_mesh() as running:
        yield running


def answer(port: int) -> int:
    """The status of a request through the caller's proxy; 0 when there is none."""
    try:
        with Caller(port) as caller:
            return caller.ask("GET", "/public/a").status
    except (OSError, HTTPException):
        return 0


def test_envoys_accept_chains_below_an_operators_root(stack: Stack) -> None:
    """Served before and after a rotation of the intermediate; the bundle that they hold is the root alone."""
    stack.workload("shared/web")
    port = stack.workload("team-a/client").upstream("WEB_HTTP")
    until(lambda: answer(port) == 200, "an answer through both proxies", 30)
    assert (stack.data_dir / "bundle.pem").read_bytes().count(b"BEGIN") == 1
    code, out = stack.ringfence("server", "rotate", "--authority")
    assert code == 0, out
    for _ in range(50):
        assert answer(port) == 200
    assert (stack.data_dir / "bundle.pem").read_bytes().count(b"BEGIN") == 1
