"""Time from an applied grant, and from a revocation, to the member set that it changes on every one of 64 nodes.

The nodes are network namespaces of this machine, kept by the agent's own keeper; the server is a process of its own.
A real node has cores of its own, so that they are measured two at a time, one in each of two processes: all others
read what they are told at the same time, and take it in when those two have. Then all at once, to show what it costs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.e2e.fabric_nodes import Namespaces

from perf.fabric_nodes import Place
from perf.figure import figure
from perf.rounds import Operator, operator
from perf.stand import OWN_UID, TRUST_DOMAIN, Stand, stand
from ringfence.admin.v1 import admin_pb2 as pb

NAME = "grant_to_member"
GOAL = 100.0  # ms
NODES, PROCESSES, AT_ONCE = 64, 2, 5  # AT_ONCE: rounds with all of them
_ALL = range(NODES)
_PATIENCE = 60.0  # seconds
GUEST = f"spiffe://{TRUST_DOMAIN}/ns/guests/sa/guest"
INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: rail, namespace: platform}
spec:
  kind: tcp
  interfaces: [fab0]
  cidrs: [10.91.0.0/16]
  ports: [50000-51000]
  tenants: [perf, guests]
  enforcedBy: host-firewall
---
kind: Workload
metadata: {name: rank, namespace: perf}
spec: {role: training}
---
kind: Workload
metadata: {name: guest, namespace: guests}
spec: {role: training}
"""
GRANT = """---
kind: FabricGrant
metadata: {name: NAME, namespace: perf}
spec:
  fabric: {name: rail, namespace: platform}
  identities: [WHO]
  job: llm
  expires: 2999-01-01T00:00:00Z
  owner: o
  reason: r
"""
ALONE = INTENT + GRANT.replace("NAME", "ranks").replace("WHO", "{namespace: perf}")
WITH_GUEST = ALONE + GRANT.replace("NAME", "guest").replace("WHO", "{workload: guest, namespace: guests}")


class Field:
    """All nodes; the first one's workload is the guest, and what each holds is known as it says so."""

    def __init__(self, workers: list[asyncio.subprocess.Process]) -> None:
        self._workers = workers
        self._held: dict[int, tuple[int, float]] = {}
        self._bare: list[float] = []
        self._obeyed = 0
        self._news = asyncio.Event()
        self._listening = [asyncio.create_task(self._listen(worker)) for worker in workers]

    async def _listen(self, worker: asyncio.subprocess.Process) -> None:
        assert worker.stdout is not None  # a pipe
        while line := await worker.stdout.readline():
            said = json.loads(line)
            self._bare += said.get("bare", [])
            self._obeyed += "obeyed" in said
            if "node" in said:
                self._held[said["node"]] = said["members"], said["at"]
            self._news.set()

    async def until(self, nodes: Sequence[int], members: int, guest: int) -> list[float]:
        """When each of *nodes* came to hold so many members, the guest's so many."""
        wanted = {number: guest if number == 0 else members for number in nodes}
        await self._wait(lambda: all(self._held.get(one, (-1,))[0] == count for one, count in wanted.items()))
        return [self._held[number][1] for number in nodes]

    async def order(self, command: str, nodes: Sequence[int] = ()) -> None:
        """Have all processes do it."""
        self._obeyed = 0
        self._write(command, nodes)
        await self._wait(lambda: self._obeyed == PROCESSES)

    async def bare(self, nodes: Sequence[int]) -> list[float]:
        """Milliseconds to one bare transaction of nft on each of *nodes*, side by side."""
        self._bare.clear()
        self._write("bare", nodes)
        await self._wait(lambda: len(self._bare) == len(nodes))
        return [seconds * 1e3 for seconds in self._bare]

    def _write(self, command: str, nodes: Sequence[int]) -> None:
        for worker in self._workers:
            assert worker.stdin is not None  # a pipe
            worker.stdin.write(" ".join([command, *map(str, nodes)]).encode() + b"\n")

    async def _wait(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not what():
                self._news.clear()
                await self._news.wait()


@dataclass(slots=True)
class Times:
    """Milliseconds, of each node that was measured."""

    granted: list[float] = field(default_factory=list)
    revoked: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def worse(self) -> float:
        """The later 99th percentile of the two."""
        return max(_p99(self.granted), _p99(self.revoked))


async def _places(acting: Operator, folder: Path, namespaces: Namespaces) -> list[Place]:
    made = []
    for number in range(NODES):
        name = namespaces.add(f"n{number}")
        namespaces.ip("-n", name, "link", "add", "fab0", "type", "veth", "peer", "name", "end")
        namespaces.ip("-n", name, "address", "add", f"10.91.0.{number + 1}/16", "dev", "fab0")
        for device in ("fab0", "end"):
            namespaces.ip("-n", name, "link", "set", device, "up")
        spiffe_id = f"spiffe://{TRUST_DOMAIN}/ns/perf/sa/rank-{number}" if number else GUEST
        entry = pb.Entry(spiffe_id=spiffe_id, selectors=[OWN_UID])
        created = await acting.admin.CreateEntries(pb.CreateEntriesRequest(entries=[entry]))
        token = (await acting.admin.GenerateToken(pb.GenerateTokenRequest(ttl=600))).token
        made.append(Place(number, name, token, created.results[0].entry.id, spiffe_id, str(folder / name)))
    return made


async def _started(place: Stand, places: list[Place], exits: AsyncExitStack) -> Field:
    workers = []
    for first in range(PROCESSES):
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perf.fabric_nodes"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=(place.folder / f"nodes{first}.log").open("wb"),
        )
        exits.push_async_callback(_end, worker)
        assert worker.stdin is not None  # a pipe
        mine = [asdict(one) for one in places[first::PROCESSES]]
        asked = {"folder": str(place.folder), "listen": place.listen, "nodes": mine}
        worker.stdin.write(json.dumps(asked).encode() + b"\n")
        workers.append(worker)
    return Field(workers)


async def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()


async def _apply(acting: Operator, text: str) -> None:
    done = await acting.admin.ApplyPolicy(
        pb.ApplyPolicyRequest(documents=[pb.Document(path="intent.yaml", text=text.encode())])
    )
    if wrong := [finding.message for finding in done.findings if finding.level == "error"]:
        raise RuntimeError(wrong[0])


async def _round(acting: Operator, nodes: Field, live: Sequence[int], times: Times) -> None:
    """One grant and one revocation, with the nodes *live* measured; all hold what they are to hold at the end."""
    times.granted += await _timed(nodes, live, _apply(acting, WITH_GUEST), NODES, NODES)
    revoking = acting.admin.RevokeIdentities(pb.RevokeIdentitiesRequest(spiffe_ids=[GUEST], reason="measured"))
    times.revoked += await _timed(nodes, live, revoking, NODES - 1, 0)
    await _apply(acting, ALONE)
    await acting.admin.LiftRevocations(pb.LiftRevocationsRequest(spiffe_ids=[GUEST]))
    times.bare += await nodes.bare(live)


async def _timed(nodes: Field, live: Sequence[int], act: Awaitable[Any], members: int, guest: int) -> list[float]:
    await nodes.order("live", live)
    begun = time.monotonic()
    await act
    ends = await nodes.until(live, members, guest)
    await nodes.order("all")
    await nodes.until(_ALL, members, guest)
    return [(end - begun) * 1e3 for end in ends]


async def _measure(place: Stand, folder: Path, namespaces: Namespaces, pairs: int) -> dict[str, Any]:
    async with operator(place) as acting, AsyncExitStack() as exits:
        await _apply(acting, ALONE)
        nodes = await _started(place, await _places(acting, folder, namespaces), exits)
        await nodes.until(_ALL, NODES - 1, 0)
        await _round(acting, nodes, _ALL, Times())  # nothing is new to anybody after that
        one, every = Times(), Times()
        for first in range(0, 2 * pairs, 2):
            await _round(acting, nodes, (first % NODES, first % NODES + 1), one)
        for _ in range(AT_ONCE):
            await _round(acting, nodes, _ALL, every)
    return _figure(one, every)


def _figure(one: Times, every: Times) -> dict[str, Any]:
    bound = statistics.median(one.bare)
    medians = f"medians {statistics.median(one.granted):.0f} and {statistics.median(one.revoked):.0f} ms"
    at_once = f"all at once on these cores {every.worse:.0f} ms, of which nft alone {_p99(every.bare):.0f} ms"
    return figure(
        NAME,
        f"grant applied, and identity revoked, to the member set of a node, in turn each of {NODES} that are told it; "
        f"the later p99 of {len(one.granted)} each ({medians}; {at_once}); ratio: over the limit",
        one.worse,
        unit="ms",
        runs=[_p99(one.granted), _p99(one.revoked)],
        limit=("one nft transaction, median", bound),
        ratio=one.worse / bound,
        goal=f"<= {GOAL:g} ms",
        met=one.worse <= GOAL,
    )


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def measure(pairs: int = NODES) -> dict[str, Any]:
    """The figure `grant_to_member`."""
    with TemporaryDirectory() as folder, ExitStack() as exits, stand() as place:
        return asyncio.run(_measure(place, Path(folder), Namespaces(exits), pairs))
