"""What requests take at several real Envoys of one mesh, asked in turn: the part that figures about filters share."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from tests.e2e.mesh import Mesh, until

from perf.apply_to_403 import answers
from ringfence.certs.spiffe_id import SpiffeId

CALLER = "/ns/team-a/sa/trainer"
PATH = "/models/base"
ROUNDS, REQUESTS = 15, 300


def quiet() -> None:
    """No log lines among the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


async def child(stack: AsyncExitStack, module: str, *arguments: str, stdin: int | None = None) -> asyncio.StreamReader:
    """What a Python module prints, run until the end of *stack*."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=stdin, stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise RuntimeError("no pipe")

    async def end() -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    stack.push_async_callback(end)
    return process.stdout


async def application(stack: AsyncExitStack) -> int:
    """The port of an application in a process of its own."""
    return int(await (await child(stack, "perf.answering")).readline())


def caller_pem(mesh: Mesh, folder: Path) -> Path:
    """A file with the caller's certificate and key."""
    identity = mesh.domain.issue(SpiffeId(mesh.domain.name, CALLER))
    pem = folder / "caller.pem"
    pem.write_bytes(identity.chain + identity.key)
    return pem


async def medians(
    mesh: Mesh,
    folder: Path,
    ports: Sequence[int],
    stack: AsyncExitStack,
    *,
    rounds: int = ROUNDS,
    requests: int = REQUESTS,
) -> list[list[float]]:
    """Microseconds of an answer at each of *ports*, a list of medians a round."""
    context = mesh.client(CALLER)
    for port in ports:
        await until_answers(port, context)
    wanted = [str(await asyncio.to_thread(caller_pem, mesh, folder)), PATH, str(rounds), str(requests)]
    lines = await child(stack, "perf.ask_in_turn", *wanted, *map(str, ports))
    return [json.loads(await lines.readline()) for _ in range(rounds)]


async def until_answers(port: int, context: object) -> None:
    """Return once a request there is answered with 200."""
    async with asyncio.timeout(30):
        while not await answers(port, context):  # noqa: ASYNC110 - Envoy sets no event of ours
            await asyncio.sleep(0.05)


async def connected(mesh: Mesh, proxies: int) -> None:
    """Return once so many proxies hold what is in force."""
    await until(lambda: len(mesh.fleet) == proxies)
    async with asyncio.timeout(30):
        await mesh.fleet.wait_synced(mesh.fleet.revision)
