"""`ringfence run` with the real server, agent and Envoy: allowed, denied, explained to the line, and kept up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ringfence.admin.v1 import admin_pb2
from tests import parts
from tests.broker.agent.harness import running_agent
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

# Every line is counted below: the rule begins in line 18.
INTENT = """\
    kind: Mesh
    spec: {{trustDomain: example.org}}
    ---
    kind: Workload
    metadata: {{name: client, namespace: team-a}}
    spec: {{launch: {{by: [{{unix.uid: {uid}}}]}}}}
    ---
    kind: Workload
    metadata: {{name: notebook, namespace: team-b}}
    spec: {{launch: {{by: [{{unix.uid: 4294967294}}]}}}}
    ---
    kind: Workload
    metadata: {{name: web, namespace: shared}}
    spec:
      launch: {{by: [{{unix.uid: {uid}}}]}}
      serves: [{{name: http, port: {port}, protocol: http}}]
    ---
    kind: Allow
    metadata: {{name: client-reads, namespace: team-a}}
    spec:
      from: [{{workload: client}}]
      to: [{{workload: web, namespace: shared, port: http}}]
      http: [{{methods: [GET], paths: ["/public/**"]}}]
      owner: a-team
      reason: what is public may be read
"""
WEB = """
    import http.server, os
    class Web(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(200); self.send_header("content-length", "5"); self.end_headers()
            self.wfile.write(b"hello")
        do_POST = do_GET
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["RINGFENCE_PORT_HTTP"])), Web)
    print("up", flush=True)
    server.serve_forever()
"""
# A line in is a request to make, a line out is its answer.
CLIENT = """
    import http.client, json, os, sys
    for line in sys.stdin:
        method, path = line.split()
        connection = http.client.HTTPConnection(os.environ["RINGFENCE_UPSTREAM_WEB_HTTP"], timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            found = [answer.status, answer.read().decode(), answer.getheader("x-ringfence-decision")]
        except OSError as error:
            found = [0, str(error), ""]
        print(json.dumps(found), flush=True)
"""


@dataclass
class Mesh:
    """A server, an agent, and what starts workloads behind their proxies."""

    folder: Path
    server: ServerUnderTest
    socket: Path
    port: int
    prefix: tuple[str, ...] = ()  # what makes the user of a run of this one

    @asynccontextmanager
    async def run(self, who: str, code: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A Python program as the workload NAMESPACE/NAME, with *options* of `run`; it gets TERM at the end."""
        namespace, _, name = who.partition("/")
        process = await asyncio.create_subprocess_exec(
            *(
                *self.prefix,
                sys.executable,
                "-m",
                "ringfence.broker.cli",
                "run",
                "--name",
                name,
                "--namespace",
                namespace,
            ),
            *("--envoy", parts.envoy(), *options, "--", sys.executable, "-c", dedent(code)),
            env={**os.environ, "RINGFENCE_SOCKET": str(self.socket), "XDG_RUNTIME_DIR": str(self.runtime)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()

    @property
    def runtime(self) -> Path:
        """Where runs have their folders."""
        return self.folder / "runtime"

    async def decision(self, point: str) -> dict[str, Any]:
        """The first decision made at *point*, waited for."""
        async with asyncio.timeout(30):
            async for decision in self.server.admin.TailAuthz(admin_pb2.TailAuthzRequest(follow=True, last=100)):
                if decision.point == point:
                    _, out = await self.ringfence("authz", "explain", decision.id, "-o", "json")
                    found: dict[str, Any] = json.loads(out)["items"][0]
                    return found
        raise AssertionError(point)

    async def ringfence(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command against this server."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ringfence.broker.cli", *arguments),
            env={**os.environ, "RINGFENCE_ADMIN_SOCKET": str(self.server.admin_socket)},
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


def prepare(folder: Path, uid: int) -> tuple[int, str]:
    """The web's port and the intent, which is in `intent/web.yaml` too; *uid* may launch, and has a folder for it."""
    port = free_port()
    text = dedent(INTENT).format(uid=uid, port=port)
    (folder / "intent").mkdir()
    (folder / "intent" / "web.yaml").write_text(text)
    (folder / "runtime").mkdir(mode=0o700)
    if uid != os.geteuid():
        folder.chmod(0o711)
        os.chown(folder / "runtime", uid, uid)
    return port, text


@asynccontextmanager
async def meshed(uid: int, prefix: tuple[str, ...] = ()) -> AsyncIterator[Mesh]:
    """One machine, in a folder with a path short enough for sockets; runs are *uid*'s, by *prefix*."""
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        port, text = prepare(folder, uid)
        async with running_server(folder) as server, running_agent(folder, server) as agent:
            await server.apply({"intent/web.yaml": text}, author="Ada <ada@example.org>", commit="c0ffee")
            yield Mesh(folder, server, agent.socket, port, prefix)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    """One machine of which this user is the only one."""
    async with meshed(os.geteuid()) as mesh:
        yield mesh


async def up(process: asyncio.subprocess.Process) -> None:
    """Wait for the workload's own word that it serves."""
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"


def proxy_of(run: asyncio.subprocess.Process) -> int:
    """The Envoy among the children of a run."""
    children = map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split())
    (proxy,) = [pid for pid in children if "envoy" in Path(f"/proc/{pid}/comm").read_text()]
    return proxy


async def call(client: asyncio.subprocess.Process, method: str, path: str) -> Any:
    """Status, text and decision id of one request of the client."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{method} {path}\n".encode())
    return json.loads(await client.stdout.readline())


async def test_a_403_leads_back_to_the_line_that_would_have_allowed_it(mesh: Mesh) -> None:
    """One call passes and one does not; `explain` names rule, file, line, revision, author and commit of either."""
    async with mesh.run("shared/web", WEB) as web, mesh.run("team-a/client", CLIENT) as client:
        await up(web)
        status, text, allowed_id = await call(client, "GET", "/public/a")
        assert (status, text) == (200, "hello")
        status, _, denied_id = await call(client, "POST", "/public/a")
        assert status == 403

        code, allowed = await mesh.ringfence("authz", "explain", allowed_id)
        assert code == 0
        assert (
            "ALLOWED (200)  spiffe://example.org/ns/team-a/sa/client -> spiffe://example.org/ns/shared/sa/web"
            in allowed
        )
        assert "intent/web.yaml:18" in allowed
        assert "18 | kind: Allow" in allowed
        assert "Ada <ada@example.org>" in allowed
        assert "c0ffee" in allowed
        assert "what is public may be read" in allowed

        code, out = await mesh.ringfence("authz", "explain", denied_id, "-o", "json")
        (denied,) = json.loads(out)["items"]
        assert (denied["allowed"], denied["rule"], denied["status"]) == (False, "default-deny", 403)
        assert (denied["method"], denied["requestPath"], denied["point"]) == ("POST", "/public/a", "envoy.http")
        assert denied["attributes"]["nearest"] == (
            "team-a/client-reads (intent/web.yaml:18), if its methods named POST beside GET"
        )

        code, out = await mesh.ringfence("authz", "tail", "--denied", "-o", "jsonl")
        assert [json.loads(line)["id"] for line in out.splitlines()] == [denied_id]


async def test_a_failed_handshake_and_a_call_outside_are_decisions_too(mesh: Mesh) -> None:
    """Plaintext to the mesh's port is `not-mtls`; an undeclared host is denied by the caller's own proxy."""
    outside = """
        import http.client, os
        connection = http.client.HTTPConnection(os.environ["RINGFENCE_EGRESS"].removeprefix("http://"), timeout=30)
        connection.request("GET", "http://undeclared.example/")
        print(connection.getresponse().status, flush=True)
    """
    async with mesh.run("shared/web", WEB) as web:
        await up(web)
        (proxy,) = (await mesh.server.admin.ListProxies(admin_pb2.ListProxiesRequest())).proxies
        host, _, port = proxy.inbound[0].partition("=")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        async with mesh.run("team-a/client", outside) as client:
            out, _ = await client.communicate()
        assert out.split() == [b"403"]

        handshake = await mesh.decision(point="envoy.tls")
        assert (handshake["rule"], handshake["allowed"]) == ("not-mtls", False)
        assert handshake["destination"] == "spiffe://example.org/ns/shared/sa/web"
        assert handshake["attributes"]["tls.failure"]
        egress = await mesh.decision(point="envoy.egress")
        assert (egress["rule"], egress["source"]) == ("default-deny", "spiffe://example.org/ns/team-a/sa/client")
        assert egress["destination"].startswith("undeclared.example")
        code, told = await mesh.ringfence("authz", "explain", handshake["id"])
        assert code == 0
        assert "handshake" in told


async def test_a_check_says_what_the_proxy_does(mesh: Mesh) -> None:
    """The model's answer and the proxy's are one, with exit codes 0 and 3."""
    ask = ("authz", "check", "team-a/client", "shared/web", "--path", "/public/a", "-o", "json", "--method")
    async with mesh.run("shared/web", WEB) as web, mesh.run("team-a/client", CLIENT) as client:
        await up(web)
        for method, status, expected in (("GET", 200, 0), ("POST", 403, 3)):
            code, out = await mesh.ringfence(*ask, method)
            assert (code, json.loads(out)["allowed"]) == (expected, expected == 0)
            assert (await call(client, method, "/public/a"))[0] == status


async def test_a_killed_proxy_comes_back_on_the_same_ports(mesh: Mesh) -> None:
    """The workload's addresses stay good: its next calls fail for a moment, then pass."""
    async with mesh.run("shared/web", WEB) as web, mesh.run("team-a/client", CLIENT) as client:
        await up(web)
        assert (await call(client, "GET", "/public/a"))[0] == 200
        os.kill(proxy_of(client), signal.SIGKILL)

        async with asyncio.timeout(20):
            while (await call(client, "GET", "/public/a"))[0] != 200:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.05)


async def test_nobody_else_can_bind_a_port_of_the_proxy(mesh: Mesh) -> None:
    """With SO_REUSEPORT on both sides another process of the same user would get a share of the calls."""
    thief = """
        import os, socket
        host, port = os.environ["RINGFENCE_UPSTREAM_WEB_HTTP"].split(":")
        for options in ((socket.SO_REUSEPORT,), (socket.SO_REUSEPORT, socket.SO_REUSEADDR)):
            sock = socket.socket()
            for option in options:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                sock.bind((host, int(port)))
                sock.listen()
                print("stolen", flush=True)
            except OSError as error:
                print(error.errno, flush=True)
    """
    async with mesh.run("team-a/client", thief) as client:
        out, _ = await client.communicate()

    assert out.split() == [str(errno.EADDRINUSE).encode()] * 2


async def test_somebody_whom_no_launch_rule_names_gets_nothing(mesh: Mesh) -> None:
    """The workload exists, but not for this user: not authorised, with the rule to write."""
    async with mesh.run("team-b/notebook", "print('ran')") as notebook:
        out, _ = await notebook.communicate()

    assert (notebook.returncode, out) == (5, b"")
