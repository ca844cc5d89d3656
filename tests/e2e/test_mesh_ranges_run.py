"""A range of ports under `ringfence run`: a peer is dialled by its own port number, as Ray does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests import parts
from tests.broker.agent.harness import running_agent
from tests.broker.server.harness import running_server
from tests.e2e.test_run import Mesh
from tests.ports import free_range

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow]

INTENT = """
    kind: Mesh
    spec: {{trustDomain: example.org}}
    ---
    kind: Workload
    metadata: {{name: head, namespace: ray}}
    spec: {{launch: {{by: [{{unix.uid: {uid}}}]}}}}
    ---
    kind: Workload
    metadata: {{name: worker, namespace: ray}}
    spec:
      launch: {{by: [{{unix.uid: {uid}}}]}}
      serves: [{{name: tasks, ports: {first}-{last}, protocol: tcp}}]
    ---
    kind: Allow
    metadata: {{name: tasks, namespace: ray}}
    spec:
      from: [{{workload: head}}]
      to: [{{workload: worker, port: tasks}}]
      owner: test
      reason: test
"""
WORKER = """
    import asyncio, os
    first, last = map(int, os.environ["RINGFENCE_PORT_TASKS"].split("-"))
    async def serve(reader, writer):
        said = await reader.read()
        writer.write(b"%d %d" % (writer.get_extra_info("sockname")[1], len(said)))
        writer.close()
    async def main():
        for number in range(first, last + 1):
            await asyncio.start_server(serve, "127.0.0.1", number)
        print("up", flush=True)
        await asyncio.Event().wait()
    asyncio.run(main())
"""
# A line in is the number to dial, a line out is what is answered there.
HEAD = """
    import os, socket, sys
    host, _, ports = os.environ["RINGFENCE_UPSTREAM_WORKER_TASKS"].partition(":")
    print(ports, flush=True)
    for line in sys.stdin:
        with socket.create_connection((host, int(line)), timeout=20) as raw:
            raw.sendall(b"who are you" * 100_000)
            raw.shutdown(socket.SHUT_WR)
            print(raw.recv(64).decode(), flush=True)
"""


@pytest.mark.parametrize("flags", [(), ("--isolate",)], ids=["open", "isolated"])
async def test_a_range_is_reached_by_its_own_numbers(flags: tuple[str, ...]) -> None:
    """What the head dials is what the worker listens on, on the same machine: both may hold the same numbers.

    Each side says its last by itself, behind walls too, where relays tell which number is meant.
    """
    if flags:
        parts.user_namespaces()
    numbers = free_range(10)
    first, last = numbers[0], numbers[-1]
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        (folder / "runtime").mkdir(mode=0o700)
        text = dedent(INTENT).format(uid=os.geteuid(), first=first, last=last)
        async with running_server(folder) as server, running_agent(folder, server) as agent:
            await server.apply({"ray.yaml": text})
            mesh = Mesh(folder, server, agent.socket, first)
            async with mesh.run("ray/worker", WORKER, *flags) as worker, mesh.run("ray/head", HEAD, *flags) as head:
                assert worker.stdout is not None
                assert await asyncio.wait_for(worker.stdout.readline(), 60) == b"up\n"
                assert await _said(head) == f"{first}-{last}"
                for number in (first, first + 5, last):
                    assert await _asked(head, number) == f"{number} 1100000"


async def _asked(head: asyncio.subprocess.Process, number: int) -> str:
    assert head.stdin is not None
    head.stdin.write(b"%d\n" % number)
    return await _said(head)


async def _said(head: asyncio.subprocess.Process) -> str:
    assert head.stdout is not None
    return (await asyncio.wait_for(head.stdout.readline(), 60)).decode().strip()
