"""The whole of Ringfence as its commands start it: server, agent, and workloads behind their own Envoys.

Synchronous and for the tests of one module; everything is a process of its own, started and ended here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
from sqlalchemy import create_engine

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.broker.config import DATABASE
from ringfence.broker.keys.choice import FOLDER
from ringfence.broker.run.admin import ask
from ringfence.broker.store import authority as stored
from ringfence.broker.store.authority import SERVER
from ringfence.certs.authority import Authority
from ringfence.certs.keys.disk import DiskKeys
from ringfence.proto.client import Client
from ringfence.proto.service import service_of
from tests import parts
from tests.e2e.identities import Domain
from tests.e2e.plane import until
from tests.ports import free_port

TRUST_DOMAIN = "example.org"
RINGFENCE = (sys.executable, "-m", "ringfence.broker.cli")
# Serves every port in its environment (`db` echoes, the others speak HTTP), says what it was given, and stays.
_WORKLOAD = """
    import http.server, json, os, signal, socketserver, threading
    class Http(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet a response: the second of two waits for an acknowledgement
        def do_GET(self):
            self.send_response(200); self.send_header("content-length", "2"); self.end_headers()
            self.wfile.write(b"ok")
        def log_message(self, *_): pass
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(4096):
                self.request.sendall(data)
    class Tcp(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
    for name, port in os.environ.items():
        if name.startswith("RINGFENCE_PORT_"):
            here = ("127.0.0.1", int(port))
            db = name.endswith("_DB")
            server = Tcp(here, Echo) if db else http.server.ThreadingHTTPServer(here, Http)
            threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(dict(os.environ)), flush=True)
    signal.pause()
"""


class Workload:
    """One `ringfence run`, ready: what its command was given, and its proxy's admin socket."""

    def __init__(self, stack: Stack, key: str) -> None:
        namespace, _, name = key.partition("/")
        base = stack.folder / name
        base.mkdir()
        with (stack.folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*RINGFENCE, "run", "--socket", str(stack.socket), "--name", name, "--namespace", namespace),
                    *("--", sys.executable, "-c", dedent(_WORKLOAD)),
                ],
                env={**os.environ, "XDG_RUNTIME_DIR": str(base)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        stack.exits.callback(_end, self.process)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (stack.folder / f"{name}.log").read_text()
        self.environment: dict[str, str] = json.loads(line)
        (self.admin,) = base.glob("ringfence-run-*/admin.sock")
        self.bootstrap: dict[str, Any] = json.loads(self.admin.with_name("envoy.json").read_text())

    def inbound(self, port: str) -> int:
        """Where its proxy listens for the mesh."""
        address: str = self.bootstrap["node"]["metadata"]["ringfence"]["inbound"][port]
        return int(address.rpartition(":")[2])

    def upstream(self, name: str) -> int:
        """Where it is told to find an upstream, as `WEB_HTTP`."""
        return int(self.environment[f"RINGFENCE_UPSTREAM_{name}"].rpartition(":")[2])

    def stats(self) -> dict[str, int]:
        """Its proxy's counters and gauges."""
        return {s["name"]: s["value"] for s in json.loads(self.page("/stats?format=json"))["stats"] if "value" in s}

    def page(self, path: str) -> str:
        """A page of its proxy's admin interface."""
        return ask(str(self.admin), path)

    def messages(self) -> list[dict[str, Any]]:
        """Every message within all that its proxy says it runs, endpoints and policies included."""
        found: list[dict[str, Any]] = []
        left: list[Any] = [json.loads(self.page("/config_dump?include_eds"))]
        while left:
            value = left.pop()
            if isinstance(value, dict):
                found.append(value)
                left.extend(value.values())
            elif isinstance(value, list):
                left.extend(value)
        return found

    @property
    def proxy(self) -> int:
        """The process id of its Envoy."""
        children = map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())
        (found,) = [pid for pid in children if "envoy" in Path(f"/proc/{pid}/comm").read_text()]
        return found


class Stack:
    """A server and an agent with *intent* in force; workloads are started when they are asked for."""

    def __init__(self, folder: Path, exits: ExitStack, intent: str) -> None:
        self.folder, self.exits, self.intent = folder, exits, intent
        self.socket = folder / "agent.sock"
        self.data_dir = folder / "server"
        self.listen, self._http, self._agent_http = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self._workloads: dict[str, Workload] = {}
        (folder / "intent").mkdir()
        (folder / "intent" / "rules.yaml").write_text(intent)
        self.start_server()
        channel = grpc.insecure_channel(f"unix:{self.data_dir}/admin.sock")
        exits.callback(channel.close)
        self.admin = Client(channel, service_of(admin, "Server"))  # type: ignore[arg-type]  # any channel will do
        self.start_agent("--join-token", self.admin.GenerateToken(admin.GenerateTokenRequest(ttl=60)).token)

    def start_server(self) -> None:
        """Start the server, at first or again, with the intent that is in its folder."""
        self.server = self._start(
            *("server", "run", "--trust-domain", TRUST_DOMAIN, "--data-dir", str(self.data_dir)),
            *("--listen", self.listen, "--http-listen", self._http, "--intent", str(self.folder / "intent")),
        )
        until(lambda: _ready(self._http), "the server", 60)

    def start_agent(self, *arguments: str) -> None:
        """Start the agent, at first with a token, later without."""
        self.agent = self._start(
            *("agent", "run", "--server", self.listen, "--trust-domain", TRUST_DOMAIN, "--socket", str(self.socket)),
            *("--bootstrap-bundle", str(self.data_dir / "bundle.pem"), "--data-dir", str(self.folder / "agent")),
            *("--http-listen", self._agent_http, *arguments),
        )
        until(lambda: _ready(self._agent_http), "the agent", 60)

    def workload(self, key: str) -> Workload:
        """The workload NAMESPACE/NAME, started at the first call."""
        if key not in self._workloads:
            self._workloads[key] = Workload(self, key)
        return self._workloads[key]

    def apply(self, intent: str) -> None:
        """Put this intent in force by the command line."""
        (self.folder / "intent" / "rules.yaml").write_text(intent)
        code, out = self.ringfence("policy", "apply", str(self.folder / "intent"))
        assert code == 0, out

    def ringfence(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command against this server."""
        done = subprocess.run(
            [*RINGFENCE, *arguments],
            env={**os.environ, "RINGFENCE_DATA_DIR": str(self.data_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def decision(self, **wanted: Any) -> admin.Decision:
        """The last decision with these fields, waited for."""

        def find() -> admin.Decision | None:
            kept = list(self.admin.TailAuthz(admin.TailAuthzRequest(last=500)))
            return next((d for d in reversed(kept) if all(getattr(d, k) == v for k, v in wanted.items())), None)

        return until(find, f"a decision with {wanted}")

    def in_step(self) -> bool:
        """Whether every connected proxy holds the intent in force."""
        proxies = self.admin.ListProxies(admin.ListProxiesRequest()).proxies
        return bool(proxies) and all(proxy.state == "SYNCED" for proxy in proxies)

    def agent_page(self, path: str) -> str:
        """A page of the agent's."""
        connection = HTTPConnection(self._agent_http, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def of_connection(self, peer: str, *, rule: str) -> admin.Decision:
        """The decision by *rule* on the connection from that address, waited for."""

        def find() -> admin.Decision | None:
            kept = self.admin.TailAuthz(admin.TailAuthzRequest(last=200, rule=rule))
            return next((d for d in kept if d.attributes.get("peer.address") == peer), None)

        return until(find, f"{rule} of {peer}")

    def explain(self, decision_id: str, *, wait_ms: int) -> list[admin.Decision]:
        """What the server tells of a decision within that time."""
        return list(self.admin.ExplainAuthz(admin.ExplainAuthzRequest(id=decision_id, wait_ms=wait_ms)).decisions)

    def authority(self) -> Domain:
        """The server's own authority with its own keys, read from its data folder: what no API of ours hands out."""
        return authority_of(self.data_dir)

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """A process that ends with the stack."""
        with log.open("ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.exits.callback(_end, process)
        return process

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start([*RINGFENCE, *arguments], self.folder / f"{arguments[0]}.log")


def authority_of(data_dir: Path) -> Domain:
    """The authority of the server with that data folder, with its own keys."""
    engine = create_engine(f"sqlite:///file:{data_dir / DATABASE}?mode=ro&uri=true")
    with engine.connect() as connection:
        found = stored.every(connection)[SERVER]
    engine.dispose()
    keys = DiskKeys(data_dir / FOLDER)
    return Domain(TRUST_DOMAIN, keys, Authority.from_state(found.state, keys))


@contextmanager
def running_stack(folder: Path, intent: str) -> Iterator[Stack]:
    """A stack in *folder*, which must have a path short enough for sockets; needs a real Envoy."""
    parts.envoy()
    with ExitStack() as exits:
        yield Stack(folder, exits, intent)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _ready(address: str) -> bool:
    connection = HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
