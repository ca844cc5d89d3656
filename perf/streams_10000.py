"""Ten thousand workloads with an open stream on one agent: the memory of each, and how a change reaches them all.

The limit is a bare server that writes the same bytes to as many streams of a client of the same kind, once a connection
as the agent does. Both clients are there all the time and the two take turns, so that what else the machine does
meanwhile falls on both. What the operator's client does beforehand (a key, a bundle, a connection) is not measured.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import grpc.aio

from perf import spire
from perf.fetch_x509_fresh import fetch
from perf.figure import figure
from perf.stand import OWN_UID, Stand, rss_kib, stand
from ringfence.admin.v1 import admin_pb2
from ringfence.certs.authority import Authority
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

NAME = "streams_10000"
GOAL_KIB, GOAL = 40.0, 2.0
STREAMS = 10_000
CONNECTIONS = 5_000  # a workload follows its SVID and something else; a process may have 20,000 files where this runs
RUNS = 15  # pairs
_OTHER = "other.example"


class Held:
    """The streams of one load client, two on a connection."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin, self._stdout = stdin, stdout

    def begin(self) -> None:
        """Take the time from now on."""
        self._stdin.write("go\n")
        self._stdin.flush()

    def last_ms(self) -> float:
        """Milliseconds from `begin` to the last stream's message; raises RuntimeError if one got none."""
        found = json.loads(self._stdout.readline())
        if found["messages"] != STREAMS:
            raise RuntimeError(f"{found['messages']} of {STREAMS} streams heard of the change")
        return float(found["last_ms"])


@contextmanager
def _held(socket: Path) -> Iterator[Held]:
    command = [str(spire.BIN / "workload-load"), "hold", str(socket), str(STREAMS), str(CONNECTIONS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        if client.stdin is None or client.stdout is None:
            raise RuntimeError("no pipes")
        opened = json.loads(client.stdout.readline())
        if opened["failures"]:
            raise RuntimeError(f"{opened['failures']} streams could not be opened: {opened['error']}")
        yield Held(client.stdin, client.stdout)
        client.kill()


@contextmanager
def _bare(folder: Path, message: bytes) -> Iterator[tuple[Path, IO[str]]]:
    """The least server, and the pipe whose lines make it send."""
    path, answer = folder / "bare.sock", folder / "answer"
    answer.write_bytes(message)
    command = [sys.executable, "-m", "perf.bare_fan_out", str(path), str(answer)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdin is None or server.stdout is None or server.stdout.readline() != "ready\n":
            raise RuntimeError("the bare server did not start")
        yield path, server.stdin
        server.kill()


def _bundle(sequence: int) -> Any:
    """Another bundle of a trust domain that the workloads federate with."""
    bundle = Authority.create(TrustDomain(_OTHER), MemoryKeys(), now=datetime.now(UTC)).bundle(sequence)
    return admin_pb2.SetBundleRequest(trust_domain=_OTHER, bundle=bundle.to_json())


async def _ours(held: Held, admin: Client, sequence: int) -> float:
    request = _bundle(sequence)
    held.begin()
    await admin.SetBundle(request)
    return await asyncio.to_thread(held.last_ms)


async def _theirs(held: Held, send: IO[str]) -> float:
    held.begin()
    send.write("go\n")
    send.flush()
    return await asyncio.to_thread(held.last_ms)


async def _measure(place: Stand, agent: int) -> tuple[float, list[tuple[float, float]]]:
    """KiB of the agent with the pid *agent* a stream, and milliseconds of a change, ours and the limit's."""
    async with grpc.aio.insecure_channel(f"unix:{place.admin}") as channel:
        admin = Client(channel, service_of(admin_pb2, "Server"))
        await admin.SetBundle(_bundle(1))
        identity = ("--spiffe-id", "spiffe://example.org/ns/a/sa/w", "--selector", OWN_UID)
        place.command("entry", "create", *identity, "--federates-with", _OTHER)
        message = await asyncio.to_thread(fetch, place.socket)
        before = rss_kib(agent)
        with _held(place.socket) as held, _bare(place.folder, message) as (path, send), _held(path) as others:
            memory = (rss_kib(agent) - before) / STREAMS
            pairs = [(await _ours(held, admin, 2 + turn), await _theirs(others, send)) for turn in range(RUNS + 1)]
            return memory, pairs[1:]


def measure() -> dict[str, Any]:
    """The figure `streams_10000`."""
    if not (spire.BIN / "workload-load").exists():
        sys.exit(f"{NAME} needs the Go client: run make parts first")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with stand() as place, place.agent() as agent:
        memory, pairs = asyncio.run(_measure(place, agent.pid))
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return figure(
        NAME,
        f"{STREAMS} open streams on {CONNECTIONS} connections: a bundle set on the server to the last of them; "
        f"{memory:.1f} KiB of the agent's memory a stream (goal {GOAL_KIB:g}; SPIRE's 57)",
        value,
        unit="ms",
        runs=sorted(mine for mine, _ in pairs),
        limit=("a bare server that sends as many bytes to as many connections, in as many writes", limit),
        ratio=ratio,
        goal=f"<= {GOAL:g}x, <= {GOAL_KIB:g} KiB",
        met=ratio <= GOAL and memory <= GOAL_KIB,
    )
