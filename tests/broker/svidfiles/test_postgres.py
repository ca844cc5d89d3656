"""A real PostgreSQL on files of ours: its client logs in by certificate, and it takes renewals up without a restart."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from signal import SIGINT

import psycopg
import pytest

from ringfence.broker.demo.workloads import features
from tests import parts
from tests.broker.agent.harness import OWN_UID, running_agent
from tests.broker.server.harness import running_server
from tests.broker.svidfiles.harness import SOON, until
from tests.ports import free_port

DATABASE, TRAINER = "spiffe://example.org/ns/data/sa/features", "spiffe://example.org/ns/team-a/sa/trainer"
HBA = "local all all trust\nhostssl all all 127.0.0.1/32 cert clientcert=verify-full map=mesh\n"
IDENT = "mesh trainer.team-a trainer\n"  # the CN of a leaf is the first DNS name of its entry
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, SSLRequest


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[Callable[[], None]]:
    """A PostgreSQL with the files in `folder/server`, on loopback, and what starts it again if it has ended.

    It ends at once where it reads a new certificate and the old key: they are two files, renewed every second here.
    """
    parts.postgres()
    programs, data = features.binaries(), folder / "data"
    features.init(programs, data)
    (data / "pg_hba.conf").write_text(HBA)
    (data / "pg_ident.conf").write_text(IDENT)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "ssl": "on",
        "fsync": "off",
        "shared_buffers": "16MB",
        "ssl_cert_file": str(folder / "server" / "server.crt"),
        "ssl_key_file": str(folder / "server/server.key"),
        "ssl_ca_file": str(folder / "server" / "root.crt"),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [*features.unprivileged(), str(programs / "postgres"), "-D", str(data), *options]
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(command, stderr=log)

        def start_again() -> None:
            nonlocal server
            if server.poll() is not None:
                server = subprocess.Popen(command, stderr=log)

        try:
            yield start_again
        finally:
            server.send_signal(SIGINT)
            server.wait()


@asynccontextmanager
async def svid_write(folder: Path, *arguments: str) -> AsyncIterator[None]:
    """`ringfence svid write --daemon` as an operator starts it."""
    command = ["svid", "write", "--daemon", "--socket", str(folder / "agent.sock"), *arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ringfence.broker.cli", *command, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0


def login(folder: Path, port: int, user: str, **fields: str) -> str:
    """Who PostgreSQL says that we are, logged in with the files in `folder/client`."""
    files = {"sslcert": "postgresql.crt", "sslkey": "postgresql.key", "sslrootcert": "root.crt"}
    told = {name: str(folder / "client" / file) for name, file in files.items()} | fields
    with psycopg.connect(
        host="localhost", hostaddr="127.0.0.1", port=port, user=user, dbname="postgres", sslmode="verify-full", **told
    ) as connection:
        row = connection.execute("select current_user").fetchone()
        assert row is not None
        return str(row[0])


def server_leaf(port: int) -> bytes:
    """The certificate that the server shows to a new connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(_SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as secured:
            return secured.getpeercert(binary_form=True) or b""


def ready(folder: Path, port: int, start_again: Callable[[], None]) -> bool:
    """Make the role once the server answers."""
    try:
        with psycopg.connect(f"host={folder} port={port} user=postgres dbname=postgres", autocommit=True) as admin:
            admin.execute("create role trainer login")
    except psycopg.OperationalError:
        start_again()
        return False
    return True


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.postgres
async def test_a_client_logs_in_by_its_svid_and_renewals_are_taken_up(tmp_path: Path) -> None:
    """Both ends verify each other by files alone; pg_ident maps the CN to a role; SIGHUP after each renewal."""
    port = free_port()
    server_files = ("--dir", str(tmp_path / "server"), "--cert-file", "server.crt", "--key-file", "server.key")
    client_files = ("--dir", str(tmp_path / "client"), "--cert-file", "postgresql.crt", "--key-file", "postgresql.key")
    hook = ("--signal", "HUP", "--pid-file", str(tmp_path / "data" / "postmaster.pid"))
    async with running_server(tmp_path) as server, running_agent(tmp_path, server):
        await server.create_entry(DATABASE, OWN_UID, dns_names=["localhost"], x509_ttl=SOON)
        await server.create_entry(TRAINER, OWN_UID, dns_names=["trainer.team-a"], x509_ttl=SOON)
        async with (
            svid_write(tmp_path, *server_files, "--bundle-file", "root.crt", "--spiffe-id", DATABASE, *hook),
            svid_write(tmp_path, *client_files, "--bundle-file", "root.crt", "--spiffe-id", TRAINER),
        ):
            for file in ("server/server.key", "client/postgresql.key"):
                await until((tmp_path / file).exists)
            with postgres(tmp_path, port) as start_again:
                await until(lambda: ready(tmp_path, port, start_again))
                first = await asyncio.to_thread(server_leaf, port)

                # 1. The right identity is the role that the map says, and no other role.
                assert await asyncio.to_thread(login, tmp_path, port, "trainer") == "trainer"
                with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                    await asyncio.to_thread(login, tmp_path, port, "postgres")

                # 2. Nobody without a certificate, and not with the database's own.
                with pytest.raises(psycopg.OperationalError, match="valid client certificate"):
                    await asyncio.to_thread(login, tmp_path, port, "trainer", sslcert="none", sslkey="none")
                other = {"sslcert": str(tmp_path / "server/server.crt"), "sslkey": str(tmp_path / "server/server.key")}
                with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                    await asyncio.to_thread(lambda: login(tmp_path, port, "trainer", **other))

                # 3. After a renewal the server shows its new certificate, and the client's new one is good.
                await until(lambda: server_leaf(port) != first)
                assert await asyncio.to_thread(login, tmp_path, port, "trainer") == "trainer"
