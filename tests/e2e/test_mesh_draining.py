"""Workloads that end under load: with `ringfence run`, the real server and agent, and Envoys."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.xds.locality import Locality
from tests import parts
from tests.broker.agent.harness import running_agent
from tests.broker.server.harness import ServerUnderTest, running_server
from tests.e2e.load import loaded
from tests.e2e.mesh import Http, until

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

# Replicas on one machine: each serves a socket in its own run's folder.
INTENT = """
    kind: Workload
    metadata: {{name: client, namespace: a}}
    spec: {{launch: {{by: [{{unix.uid: {uid}}}]}}}}
    ---
    kind: Workload
    metadata: {{name: web, namespace: a}}
    spec:
      launch: {{by: [{{unix.uid: {uid}}}]}}
      serves: [{{name: http, socket: web.sock, protocol: http}}]
    ---
    kind: Allow
    metadata: {{name: calls, namespace: a}}
    spec:
      from: [{{workload: client}}]
      to: [{{workload: web, port: http}}]
      owner: test
      reason: test
"""
# Takes a while for each answer, and dies at once of TERM: whatever is under way then is lost.
WEB = """
    import http.server, os, socketserver, time
    class Web(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            if self.path != "/":
                print("asked", flush=True)
            time.sleep(float(self.path[1:] or 0.05))
            self.send_response(200); self.send_header("content-length", "2"); self.end_headers()
            self.wfile.write(b"ok")
        def log_message(self, *_): pass
        def address_string(self): return ""
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads, request_queue_size = True, 64
    server = Server(os.environ["RINGFENCE_SOCKET_DIR"] + "/web.sock", Web)
    print("{}", flush=True)
    server.serve_forever()
"""
CLIENT = """
    import json, os, signal
    print(json.dumps(dict(os.environ)), flush=True)
    signal.pause()
"""


@dataclass
class Runs:
    """A server, an agent, and `ringfence run` as often as it is asked for."""

    folder: Path
    server: ServerUnderTest
    socket: Path
    stack: AsyncExitStack

    async def run(self, name: str, code: str, *flags: str) -> tuple[asyncio.subprocess.Process, dict[str, str]]:
        """A workload of namespace `a`, and what it said when it was up."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ringfence.broker.cli", "run", "--name", name, "--namespace", "a", *flags),
            *("--envoy", parts.envoy(), "--", sys.executable, "-c", dedent(code)),
            env={**os.environ, "RINGFENCE_SOCKET": str(self.socket), "XDG_RUNTIME_DIR": str(self.folder)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.stack.push_async_callback(ended, process)
        assert process.stdout is not None
        return process, json.loads(await process.stdout.readline())

    async def web(self, *flags: str) -> asyncio.subprocess.Process:
        """One more replica, up."""
        return (await self.run("web", WEB, *flags))[0]

    async def upstream(self) -> int:
        """The loopback port at which a client finds the replicas."""
        _, environment = await self.run("client", CLIENT)
        return int(environment["RINGFENCE_UPSTREAM_WEB_HTTP"].rpartition(":")[2])

    def offered(self) -> int:
        """How many replicas callers may be sent to."""
        return len(self.server.running.parts.proxies.fleet._offers.of("a/web", "http"))

    async def until_offered(self, replicas: int) -> None:
        """Wait until it is so many."""
        await until(lambda: self.offered() == replicas)


async def line(process: asyncio.subprocess.Process) -> str:
    """What a workload says next."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def one(port: int, path: str) -> int:
    """The status of one request on a connection of its own."""
    http = await Http.connect(port)
    try:
        return await http.get(path)
    finally:
        http.close()


async def ended(process: asyncio.subprocess.Process) -> int:
    """Told to end, if it has not yet; its exit code."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    return await process.wait()


@pytest.fixture
async def runs() -> AsyncIterator[Runs]:
    """One machine, in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        text = dedent(INTENT).format(uid=os.geteuid())
        async with (
            running_server(folder) as server,
            running_agent(folder, server, locality=Locality("eu", "eu-1")) as agent,
            AsyncExitStack() as stack,
        ):
            await server.apply({"intent.yaml": text})
            yield Runs(folder, server, agent.socket, stack)


async def test_a_rolling_restart_loses_no_request(runs: Runs) -> None:
    """Each replica leaves its callers, ends what is under way, and only then gets the TERM that it dies of."""
    replicas = [await runs.web(), await runs.web()]
    async with loaded(await runs.upstream()) as load:
        await load.more()
        for _ in range(4):
            assert await ended(replicas.pop(0)) == 128 + signal.SIGTERM
            await load.more()
            replicas.append(await runs.web())
            await load.more()

    assert (load.failed, load.statuses[200] > 100) == (0, True), load.failures


async def test_what_is_under_way_is_answered_first(runs: Runs) -> None:
    """A request of a second ends before its workload is told to."""
    web = await runs.web()
    asked = asyncio.create_task(one(await runs.upstream(), "/1"))
    assert await line(web) == "asked"
    assert await ended(web) == 128 + signal.SIGTERM
    assert await asked == 200


async def test_a_run_drains_only_as_long_as_it_was_told(runs: Runs) -> None:
    """A request of a minute is cut, and a second TERM waits for nothing."""
    for flags, terms in ((("--drain", "0.5"), 1), (("--drain", "60"), 2)):
        web = await runs.web(*flags)
        asked = asyncio.create_task(one(await runs.upstream(), "/60"))
        assert await line(web) == "asked"
        async with asyncio.timeout(30):
            for _ in range(terms - 1):
                web.send_signal(signal.SIGTERM)
                await runs.until_offered(0)
            assert await ended(web) == 128 + signal.SIGTERM
        assert await asked == 503


async def test_a_replica_that_is_still_starting_costs_no_request(runs: Runs) -> None:
    """Its proxy is there before it: what reaches only the proxy is sent to another replica."""
    await runs.web()
    async with loaded(await runs.upstream()) as load:
        starting, _ = await runs.run("web", "import signal; print('{}', flush=True); signal.pause()")
        await load.more(200)
        await ended(starting)

    assert load.failed == 0, load.failures


async def test_a_replica_that_ends_by_itself_leaves_too(runs: Runs) -> None:
    """Before its run has ended, not after the grace of a lost stream."""
    quick, _ = await runs.run("web", "import sys; print('{}', flush=True); sys.stdin.read()")
    assert runs.offered() == 1
    assert quick.stdin is not None
    quick.stdin.close()
    await quick.wait()
    assert runs.offered() == 0


async def test_a_proxy_runs_where_its_agent_says(runs: Runs) -> None:
    """From the agent's host to the server, which shows it and hands it on with the endpoint; flags go before."""
    await runs.web()
    await runs.web("--zone", "eu-2")
    rows = (await runs.server.admin.ListProxies(admin_pb2.ListProxiesRequest())).proxies
    assert {(row.region, row.zone) for row in rows} == {("eu", "eu-1"), ("eu", "eu-2")}
    assert runs.server.running is not None
    endpoints = runs.server.running.parts.proxies.fleet._offers.of("a/web", "http")
    assert {endpoint.locality for endpoint in endpoints} == {Locality("eu", "eu-1"), Locality("eu", "eu-2")}
