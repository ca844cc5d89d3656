"""Our fleet and lane with real Envoys: mutual TLS to the server, secrets on a socket a workload, started as `run` does.

The agent's part is played by a few lines that serve fixed secrets, so that a fault here is one of fleet, lane or xds.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.broker.fleet.ads import ProxyApi
from ringfence.broker.fleet.compiling import Compiler
from ringfence.broker.fleet.fleet import Fleet
from ringfence.broker.run.bootstrap import bootstrap
from ringfence.broker.run.envoy import envoy_arguments
from ringfence.broker.run.plan import Launch, ProxyPlan, Who
from ringfence.broker.status import hidden
from ringfence.certs.spiffe_id import SERVER_NAME, SpiffeId
from ringfence.policy.model import Model
from ringfence.proto.lane import Call, Lane, Method
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.dialect import SDS
from ringfence.xds.discovery import parse_sotw
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from tests import parts
from tests.broker.fleet.world import MemoryLog
from tests.e2e.identities import Domain, secrets
from tests.policy import intent
from tests.ports import free_port

_SDS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_PATIENCE = 30.0  # seconds until a test gives up


def wall() -> datetime:
    """Envoy judges certificates by the real clock."""
    return datetime.now(UTC)


def model_of(text: str) -> Model:
    """What the documents mean."""
    return intent.model_of(text, now=wall())


async def until(found: Callable[[], Any]) -> Any:
    """Look again and again until there is an answer; what others' processes do sets no event of ours."""
    async with asyncio.timeout(_PATIENCE):
        while not (answer := found()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return answer


@dataclass
class Envoy:
    """A running Envoy: where it listens, and its admin interface."""

    inbound: Mapping[str, int]
    upstream: Mapping[str, int]
    admin: Path
    process: asyncio.subprocess.Process

    async def stats(self) -> dict[str, int]:
        """Its counters and gauges."""
        reader, writer = await asyncio.open_unix_connection(self.admin)
        writer.write(b"GET /stats?format=json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        data = await reader.read()
        writer.close()
        body = data.partition(b"\r\n\r\n")[2]
        text = body[body.index(b"{") : body.rindex(b"}") + 1]
        return {s["name"]: s["value"] for s in json.loads(text)["stats"] if "value" in s}


class Http:
    """One keep-alive connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext | None = None) -> Http:
        """To a loopback port."""
        name = "mesh" if context else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name))

    async def get(self, path: str = "/") -> int:
        """The status that a GET is answered with, on this very connection."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: mesh\r\n\r\n".encode())
        async with asyncio.timeout(_PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in head.splitlines() if line.startswith("content-length:"))
            await self._reader.readexactly(int(length.partition(":")[2]))
        return int(head.split()[1])

    def close(self) -> None:
        """End it."""
        self._writer.close()


@dataclass
class Mesh:
    """A server of ours, and whatever proxies were started under it."""

    folder: Path
    stack: AsyncExitStack
    compiler: Compiler = compile_snapshot
    log: MemoryLog = field(default_factory=MemoryLog)
    domain: Domain = field(default_factory=lambda: Domain("example.test"))
    port: int = field(default_factory=free_port)
    others: tuple[str, ...] = ()  # HOST:PORT of servers that are as good
    agent: Mapping[str, Method] = field(default_factory=dict)  # what agents answer beside secrets
    methods: Mapping[str, Method] = field(default_factory=dict)  # what the server answers beside its fleet
    fleet: Fleet = field(init=False)
    lane: Lane = field(init=False)
    _served: set[str] = field(default_factory=set)

    async def start(self, text: str) -> None:
        """Start the server, with this intent in force; again after `lane.close()` for a restarted one."""
        self.fleet = Fleet(self.compiler, self.log, clock=wall)
        await self.fleet.restore()
        self.fleet.apply(model_of(text))
        await self.listen()

    async def listen(self) -> None:
        """Let proxies in; again after `lane.close()` for a server that was out of their reach."""
        self.lane = Lane({**ProxyApi(self.fleet, wall).methods(), **self.methods}, on_error=hidden)
        context = self._server_context()
        await self.lane.listen_tcp("127.0.0.1", self.port, lambda: context)
        self.stack.push_async_callback(self.lane.close)

    def client(self, path: str) -> ssl.SSLContext:
        """A client of the mesh with its own SVID and no proxy."""
        return self.domain.issue(SpiffeId(self.domain.name, path)).client(self.folder)

    async def envoy(
        self,
        key: str,
        *,
        inbound: Mapping[str, int] | None = None,
        upstream: Mapping[str, int] | None = None,
        node: str = "1",
        state_of_the_world: bool = False,
        inbound_host: str = "127.0.0.1",
        locality: Locality = NOWHERE,
        cut: frozenset[str] = frozenset(),
        rank: int | None = None,
        job: str = "",
    ) -> Envoy:
        """A proxy of a workload, or of that rank of its *job*; its listeners come when the server says so."""
        namespace, _, name = key.partition("/")
        who = Who(namespace, name, rank, job)
        spiffe_id = SpiffeId(self.domain.name, who.path)
        own = self.folder / f"{who.name}-{node}"
        await asyncio.to_thread(own.mkdir)
        plan = ProxyPlan(
            who=who,
            node_id=f"{key}/{node}",
            spiffe_id=str(spiffe_id),
            launch=Launch(
                f"127.0.0.1:{self.port}",
                str(self.domain.name),
                await self._agent(spiffe_id),
                self.others,
                locality,
            ),
            served={},
            inbound={name: f"{inbound_host}:{port}" for name, port in (inbound or {}).items()},
            upstream={name: f"127.0.0.1:{port}" for name, port in (upstream or {}).items()},
            environment={},
            egress="",
            socket_dir=str(own),
            cut=cut,
        )
        config = own / "envoy.json"
        text = bootstrap(plan, admin_socket=str(own / "admin"), state_of_the_world=state_of_the_world)
        await asyncio.to_thread(config.write_text, text)
        arguments = envoy_arguments(parts.envoy(), config, concurrency=1)
        process = await asyncio.create_subprocess_exec(*arguments, "--log-path", str(own / "log"))
        self.stack.push_async_callback(_end, process)
        return Envoy(inbound or {}, upstream or {}, own / "admin", process)

    async def _agent(self, spiffe_id: SpiffeId) -> str:
        name = "-".join(spiffe_id.path.split("/")[4:])
        path = str(self.folder / f"{name}.sock")
        if name not in self._served:
            self._served.add(name)
            held = secrets(self.domain, spiffe_id)
            lane = Lane({_SDS: Method(lambda call: _serve_secrets(call, held), parse_sotw), **self.agent})
            await lane.listen_unix(path)
            self.stack.push_async_callback(lane.close)
        return path

    def _server_context(self) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        spiffe_id = SpiffeId(self.domain.name, "/ringfence/server")
        chain = self.domain.authority.issue_x509(
            spiffe_id,
            key.public_key(),
            now=wall(),
            ttl=timedelta(hours=1),
            dns_names=[SERVER_NAME],
            ip_addresses=[IPv4Address("127.0.0.1")],  # gRPC libraries check the name that they dial
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
        (self.folder / "server.pem").write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.domain.authority.bundle(1).x509_pem().decode())
        context.load_cert_chain(self.folder / "server.pem")
        context.set_alpn_protocols(["h2"])
        return context


@asynccontextmanager
async def running_mesh(folder: Path, text: str, **options: Any) -> AsyncIterator[Mesh]:
    """A mesh with this intent in force; every process and socket of it is gone at the end."""
    async with AsyncExitStack() as stack:
        mesh = Mesh(folder, stack, **options)
        await mesh.start(text)
        yield mesh


async def application(stack: AsyncExitStack) -> int:
    """A web application that answers 200 to everything, on the port returned."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.callback(server.close)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _serve_secrets(call: Call, held: Snapshot) -> None:
    stream = SotwStream(SDS)
    while (request := await call.receive()) is not None:
        for out in stream.receive(request, held):
            await call.send(out.payload)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
