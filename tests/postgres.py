"""A real PostgreSQL for tests: one throw-away cluster a test run, a fresh database a test."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from ringfence.broker.demo.workloads import features

_NUMBERS = count()
# Whoever reaches the socket is trusted, but for the one user that tests how a password is handled.
_HBA = "local all guarded scram-sha-256\nlocal all all trust\n"
PASSWORD = "correct-horse-battery"  # noqa: S105  # of a throw-away cluster


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL that listens on a Unix socket in a private folder and nowhere else."""

    socket_dir: Path

    def admin(self) -> psycopg.Connection[Any]:
        """A connection of its superuser."""
        return psycopg.connect(f"host={self.socket_dir} user=postgres dbname=postgres", autocommit=True)

    def url(self, database: str, user: str = "postgres") -> str:
        """How `--database` names one of its databases."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.socket_dir}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped at the end with whoever is on it."""
        name = f"t{next(_NUMBERS)}"
        with self.admin() as admin:
            admin.execute(f"create database {name}")
        yield self.url(name)
        with self.admin() as admin:
            admin.execute(f"drop database {name} with (force)")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A new cluster; its folder is short, for a socket's path is."""
    folder = Path(tempfile.mkdtemp(prefix="rfpg-", dir="/tmp"))  # 0700 by mkdtemp
    try:
        programs = features.binaries()
        features.init(programs, folder / "data")
        (folder / "data" / "pg_hba.conf").write_text(_HBA)
        with features.start(programs, folder / "data", folder) as server:
            try:
                made = Cluster(folder)
                _wait(made)
                yield made
            finally:
                server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(made: Cluster) -> None:
    deadline = time.monotonic() + features.START_WITHIN
    while not _prepared(made):
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.02)


def _prepared(made: Cluster) -> bool:
    try:
        with made.admin() as admin:
            admin.execute(f"create role guarded login password '{PASSWORD}'")
    except psycopg.OperationalError:
        return False
    return True
