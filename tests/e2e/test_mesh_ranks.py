"""Real Envoys of the ranks of one job: they reach each other, nobody else reaches them, and each falls alone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.certs.revocation import Revocations, RevokedIdentity
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.fleet.world import FakeProxy
from tests.e2e.mesh import Envoy, Http, Mesh, running_mesh, until
from tests.e2e.test_fleet_envoy import connected, synced
from tests.e2e.test_fleet_revoked import echo
from tests.policy import intent
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

TRAINER, JOB = "team-a/trainer", "/ns/team-a/job/llm"
PATIENCE = 30.0  # seconds until a test gives up
INTENT = """
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec:
  job: llm
  launch: {by: [{unix.uid: 1001}]}
  serves: [{name: http, port: HTTP, protocol: http}, {name: c10d, port: TCP, protocol: tcp}]
---
kind: Workload
metadata: {name: other, namespace: team-a}
spec: {job: llm2, launch: {by: [{unix.uid: 1002}]}}
---
kind: Allow
metadata: {name: meet, namespace: team-a}
spec:
  from: [{workload: trainer}]
  to: [{workload: trainer, port: http}, {workload: trainer, port: c10d}]
  owner: ml
  reason: rendezvous
"""
PORTS = ("http", "c10d")
REFUSED = "cluster.outbound/trainer.team-a/http.ssl.fail_verify_san"


async def who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web application that answers with whom its proxy says the caller is, in the length of a body of dots."""
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
            caller = next(line for line in head.splitlines() if line.startswith("x-forwarded-client-cert:"))
            number = int(caller.rpartition("/rank/")[2].rstrip('"'))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (number, b"." * number))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@dataclass
class Job:
    """A mesh with a proxy of rank 0, which serves, and one of rank 1, which calls."""

    mesh: Mesh
    zero: Envoy
    one: Envoy

    def client(self, rest: str, job: str = JOB) -> ssl.SSLContext:
        """Somebody with a certificate of the mesh, and no proxy."""
        return self.mesh.client(f"{job}/rank/{rest}")

    async def get(self, rest: str, job: str = JOB) -> int:
        """What that one is answered by rank 0's proxy."""
        http = await Http.connect(self.zero.inbound["http"], self.client(rest, job))
        try:
            return await http.get()
        finally:
            http.close()

    async def says(self, rest: str, job: str = JOB) -> bytes:
        """What that one hears back over rank 0's TCP port."""
        context = self.client(rest, job)
        port = self.zero.inbound["c10d"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="mesh")
        try:
            return await heard(reader, writer)
        finally:
            writer.close()


async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What comes back for a word; nothing where the connection is closed instead."""
    writer.write(b"word")
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read(64)
    except ConnectionError:
        return b""


def revoking(number: int) -> Revocations:
    """That rank is revoked as a whole."""
    return Revocations.of((), [RevokedIdentity(f"spiffe://example.test{JOB}/rank/{number}", 5, "x", "y")])


def ports(prefix: str = "") -> dict[str, int]:
    """A free port for each that the job serves."""
    return {f"{prefix}{name}": free_port() for name in PORTS}


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[Job]:
    """Both proxies in step, and rank 1's sees rank 0."""
    async with AsyncExitStack() as stack:
        text = intent.joined(intent.MESH, INTENT)
        for name, serve in (("HTTP", who), ("TCP", echo)):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(server.close)
            text = text.replace(f"port: {name}", f"port: {server.sockets[0].getsockname()[1]}")
        mesh = await stack.enter_async_context(running_mesh(tmp_path, text))
        zero = await mesh.envoy(TRAINER, inbound=ports(), node="0", rank=0, job="llm")
        one = await mesh.envoy(TRAINER, upstream=ports("trainer.team-a/"), node="1", rank=1, job="llm")
        await until(lambda: len(mesh.fleet) == 2)
        await synced(mesh)
        for port in (*zero.inbound.values(), *one.upstream.values()):
            (await connected(port)).close()
        found = Job(mesh, zero, one)
        await until(lambda: mesh.fleet._offers.endpoints.of(TRAINER, "http"))
        yield found


async def through(envoy: Envoy) -> int:
    """What a rank's workload is answered through its own proxy, once that has settled."""
    http = await Http.connect(envoy.upstream["trainer.team-a/http"])
    try:
        return await http.get()
    finally:
        http.close()


async def becomes(envoy: Envoy, status: int) -> None:
    """Wait until a rank's workload is answered so."""
    async with asyncio.timeout(PATIENCE):
        while await through(envoy) != status:
            pass


async def test_ranks_reach_each_other_through_their_proxies(job: Job) -> None:
    """Requests and connections, and the workload learns which rank calls."""
    await becomes(job.one, 200)
    reader, writer = await asyncio.open_connection("127.0.0.1", job.one.upstream["trainer.team-a/c10d"])
    assert await heard(reader, writer) == b"word"
    writer.close()
    http = await Http.connect(job.one.upstream["trainer.team-a/http"])
    http._writer.write(b"GET / HTTP/1.1\r\nhost: mesh\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        head = (await http._reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert "content-length: 1\r\n" in head  # rank 1
    http.close()


@pytest.mark.parametrize("rest", ["2", "0", "999999"])
async def test_every_rank_is_let_in(job: Job, rest: str) -> None:
    """Those that have no proxy yet too: the rule names the workload."""
    assert await job.get(rest) == 200
    assert await job.says(rest) == b"word"


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        *((rest, JOB) for rest in ("1/x", "1a", "01", "1000000", "1.0")),
        ("1", "/ns/team-a/job/llm2"),
        ("1", "/ns/team-b/job/llm"),
        ("1", "/ns/team-a/sa/llm"),
    ],
)
async def test_nobody_else_is(job: Job, rest: str, named: str) -> None:
    """Another job of the namespace, the same one of another, and names that only look like a rank's."""
    assert await job.get(rest, named) == 403
    assert await job.says(rest, named) == b""


async def test_one_rank_is_revoked_alone(job: Job) -> None:
    """On its open connection too; the others call on, and may call again."""
    one, two = [await Http.connect(job.zero.inbound["http"], job.client(rest)) for rest in ("1", "2")]
    assert (await one.get(), await two.get()) == (200, 200)

    job.mesh.fleet.revoke(revoking(1))
    async with asyncio.timeout(PATIENCE):
        while await one.get() != 403:
            pass

    assert await two.get() == 200
    assert await job.get("1") == 403
    assert await job.says("1") == b""
    assert await job.says("2") == b"word"
    assert await job.get("11") == 200
    await until(lambda: len(job.mesh.fleet) == 1)  # rank 1's own proxy is turned out
    for http in (one, two):
        http.close()


@pytest.mark.parametrize("named", [f"{JOB}/rank/5/x", f"{JOB}/rank/05", "/ns/team-a/job/llm2/rank/5", "/ns/a/sa/llm"])
async def test_a_rank_speaks_to_no_server_that_is_none(job: Job, named: str) -> None:
    """Whoever stands at a rank's address, and whatever other certificate of the mesh it has."""
    async with standing_in(job, named):
        await becomes(job.one, 503)
        await until_refused(job.one)


async def test_a_rank_speaks_to_any_other_and_to_none_that_is_revoked(job: Job) -> None:
    """One that goes on standing there with a certificate that is valid still is a server to nobody any more."""
    async with standing_in(job, f"{JOB}/rank/5"):
        await becomes(job.one, 200)
        assert not (await job.one.stats())[REFUSED]

        job.mesh.fleet.revoke(revoking(5))

        await becomes(job.one, 503)
        await until_refused(job.one)


@asynccontextmanager
async def standing_in(job: Job, path: str) -> AsyncIterator[None]:
    """In place of rank 0's proxy, at the address that rank 6 is said to have: a server with that certificate."""
    await becomes(job.one, 200)
    identity = job.mesh.domain.issue(SpiffeId(job.mesh.domain.name, path))
    pem = job.mesh.folder / "standing-in.pem"
    pem.write_bytes(identity.chain + identity.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(plain, "127.0.0.1", 0, ssl=context)
    [left] = [proxy.node for proxy in job.mesh.fleet._proxies if proxy.caller.spiffe_id.path == f"{JOB}/rank/0"]
    job.zero.process.terminate()
    await until(lambda: len(job.mesh.fleet) == 1)
    at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    FakeProxy(job.mesh.fleet, TRAINER, node="6", rank=6, inbound={"http": at})
    job.mesh.fleet._offers.forget(left)
    try:
        yield
    finally:
        server.close()


async def until_refused(envoy: Envoy) -> None:
    """Wait until a proxy has refused a server for its name."""
    async with asyncio.timeout(PATIENCE):
        while not (await envoy.stats())[REFUSED]:
            await through(envoy)


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web application behind its own TLS."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
