"""A world for `ringfence run`: an agent and a server that answer as they are told, and an Envoy that only says yes."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.admin.v1 import admin_pb2
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.proto import workload
from ringfence.proto.lane import Call, Lane, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Status
from ringfence.proxy.v1 import proxy_pb2
from tests.broker.run.fabrics import Fabrics

TRUST_DOMAIN = TrustDomain("example.test")
TRAINER = "spiffe://example.test/ns/team-a/sa/trainer"

# Listens on nothing, but opens its admin socket and claims to be what its bootstrap asks for.
FAKE_ENVOY = """
    import http.server, json, os, pathlib, socketserver, sys
    here = pathlib.Path(__file__).parent
    config = json.loads(pathlib.Path(sys.argv[sys.argv.index("--config-path") + 1]).read_text())
    ours = config["node"]["metadata"]["ringfence"]
    addresses = [*ours["inbound"].values(), *ours["upstream"].values(), *filter(None, [ours.get("egress")])]
    def told(a):
        if a.startswith("unix:"):
            return {"pipe": {"path": a[5:]}}
        return {"socket_address": {"address": a.rpartition(":")[0], "port_value": int(a.rpartition(":")[2])}}
    pages = {
        "/ready": (here / "state").read_text(),
        "/listeners?format=json": json.dumps({"listener_statuses": [
            {"local_address": told(a)} for a in addresses]}),
    }
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = pages.get(self.path, "").encode()
            self.send_response(200); self.send_header("content-length", str(len(text))); self.end_headers()
            self.wfile.write(text)
        do_POST = do_GET
        def log_message(self, *_): pass
        def address_string(self): return ""
    path = config["admin"]["address"]["pipe"]["path"]
    pathlib.Path(path).unlink(missing_ok=True)
    print("the last words of envoy", file=sys.stderr, flush=True)
    with open(here / "pids", "a") as file: print(os.getpid(), file=file)
    socketserver.UnixStreamServer(path, Page).serve_forever()
"""


@dataclass
class World:
    """What the agent and the server answer; change it before or between runs."""

    folder: Path
    identity: str = TRAINER
    refusal: Status | None = None
    described: proxy_pb2.DescribeResponse = field(default_factory=lambda: proxy_pb2.DescribeResponse(spiffe_id=TRAINER))
    left: list[str] = field(default_factory=list)  # node ids that said goodbye
    locality: dict[str, str] = field(default_factory=dict)
    launches: list[tuple[str, str, int | None]] = field(default_factory=list)
    launched: asyncio.Event = field(default_factory=asyncio.Event)
    fabrics: Fabrics = field(default_factory=Fabrics)

    async def __aenter__(self) -> Self:
        self._keys = MemoryKeys()
        self._authority = Authority.create(TRUST_DOMAIN, self._keys, now=datetime.now(UTC))
        self._stack = AsyncExitStack()
        self.runtime = self.folder / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.envoy = self.folder / "fake" / "envoy"
        self.envoy.parent.mkdir()
        self.envoy.write_text(f"#!{sys.executable} -S\n{dedent(FAKE_ENVOY)}")
        self.envoy.chmod(0o755)
        self.proxy_state("LIVE")
        proxy = service_of(proxy_pb2, "Proxy")
        self._server = Lane(
            methods_of(proxy, {"Describe": self._describe, "Leave": self._leave}, peer_certificate=True)
        )
        self.server = f"127.0.0.1:{await self._server.listen_tcp('127.0.0.1', 0, self._tls)}"
        await self.start_agent()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_agent()
        await self._server.close()

    async def start_agent(self) -> None:
        """Serve the workload socket and its admin socket."""
        self._workload_api = Lane(methods_of(workload.DESCRIPTOR, {"FetchX509SVID": self._fetch}))
        launcher = methods_of(service_of(admin_pb2, "Launcher"), {"Launch": self._launch})
        self._admin = Lane({**launcher, **self.fabrics.methods()})
        await self._workload_api.listen_unix(self.socket)
        await self._admin.listen_unix(f"{self.socket}.admin")

    async def stop_agent(self) -> None:
        """As if it were killed."""
        await self._workload_api.close()
        await self._admin.close()

    @property
    def socket(self) -> Path:
        """The agent's workload socket."""
        return self.folder / "agent.sock"

    @property
    def proxies(self) -> list[int]:
        """The pids of every proxy that was started, oldest first."""
        pids = self.folder / "fake" / "pids"
        return [int(line) for line in pids.read_text().split()] if pids.exists() else []

    def proxy_state(self, state: str) -> None:
        """What the next proxy answers on /ready."""
        (self.envoy.parent / "state").write_text(state)

    async def run(
        self,
        *command: str,
        flags: tuple[str, ...] = (),
        talk: bool = False,
        folder: Path | None = None,
        **environment: str,
    ) -> asyncio.subprocess.Process:
        """Start `ringfence run` for team-a/trainer in *folder*, with its output in pipes, and its input to *talk*."""
        own = ("--name", "trainer", "--namespace", "team-a", "--envoy", str(self.envoy))
        base: Mapping[str, str] = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "RINGFENCE_SOCKET": str(self.socket),
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ringfence.broker.cli", "run", *own, *flags, "--", *command),
            env={**base, **environment},
            stdin=asyncio.subprocess.PIPE if talk else asyncio.subprocess.DEVNULL,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _launch(self, call: Call) -> None:
        request = await call.receive()
        if self.refusal is not None:
            raise self.refusal
        self.launches.append((request.namespace, request.name, call.peer.pid))
        self.launched.set()
        await call.send(
            admin_pb2.LaunchResponse(
                server=self.server,
                trust_domain=TRUST_DOMAIN.name,
                workload_socket=str(self.socket),
                **self.locality,
            )
        )
        await asyncio.Event().wait()

    async def _fetch(self, call: Call) -> None:
        await call.receive()
        key, chain = self._issue(self.identity)
        svid = workload.X509SVID(
            spiffe_id=self.identity,
            x509_svid=b"".join(chain),
            x509_svid_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            bundle=self._authority.bundle(1).x509_der(),
        )
        await call.send(workload.X509SVIDResponse(svids=[svid]))
        await asyncio.Event().wait()

    async def _describe(self, call: Call) -> None:
        await call.receive()
        await call.send(self.described)

    async def _leave(self, call: Call) -> None:
        self.left.append((await call.receive()).node)
        await call.send(proxy_pb2.LeaveResponse(callers=0))

    def _issue(self, spiffe_id: str, dns_names: tuple[str, ...] = ()) -> tuple[Any, tuple[bytes, ...]]:
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._authority.issue_x509(
            SpiffeId.parse(spiffe_id),
            key.public_key(),
            now=datetime.now(UTC),
            ttl=timedelta(hours=1),
            dns_names=dns_names,
        )
        return key, chain

    def _tls(self) -> ssl.SSLContext:
        key, chain = self._issue(f"{TRUST_DOMAIN.id}/ringfence/server", ("ringfence-server",))
        pem = self.folder / "server.pem"
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        pem.write_text(text + "".join(ssl.DER_cert_to_PEM_cert(der) for der in chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.load_verify_locations(cadata=self._authority.bundle(1).x509_pem().decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["h2"])
        return context
