"""Nodes on a fabric for tests: scripted agents that claim, and hear who is a member."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from ringfence.admin.v1 import admin_pb2 as admin
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.server.daemon import system_clock
from tests.broker.server.harness import ServerUnderTest
from tests.broker.server.node import Node, Stream, joined

RAIL, LLM, EVAL = "platform/rail", "team-a/llm", "team-b/eval"
TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
SCORER = "spiffe://example.org/ns/team-b/sa/scorer"
FABRIC = """
kind: Fabric
metadata: {name: rail, namespace: platform}
spec:
  kind: tcp
  interfaces: ["fab*"]
  cidrs: [10.91.0.0/16]
  ports: [50000-51000]
  tenants: [team-a, team-b]
  enforcedBy: host-firewall
"""
WORKLOAD = """
kind: Workload
metadata: {name: %s, namespace: %s}
spec: {role: training, match: [{unix.uid: %d}]}
"""
GRANT = """
kind: FabricGrant
metadata: {name: %s, namespace: %s}
spec:
  fabric: {name: rail, namespace: platform}
  identities: [{workload: %s}]
  job: %s
  expires: %s
  owner: ml-platform
  reason: tests
"""


class Ahead:
    """A clock that goes as the system's does, and can be put forward."""

    def __init__(self) -> None:
        self._by = timedelta()

    def __call__(self) -> datetime:
        """The time now."""
        return system_clock() + self._by

    def put(self, server: ServerUnderTest, seconds: float) -> None:
        """Forward, and have everybody look at it now: a sleeper is not woken by a clock."""
        self._by += timedelta(seconds=seconds)
        server.parts.agent_api.bell.ring()


async def until(what: Callable[[], bool]) -> None:
    """Wait until *what*() is so."""
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


def workloads() -> dict[str, str]:
    """A trainer of team-a and a scorer of team-b, and the fabric; nobody is granted it."""
    trainer, scorer = WORKLOAD % ("trainer", "team-a", 1001), WORKLOAD % ("scorer", "team-b", 1002)
    return {"trainer.yaml": trainer, "scorer.yaml": scorer, "rail.yaml": FABRIC}


def grants(ends: datetime | None = None) -> dict[str, str]:
    """One for each of them, for an hour if no end is given."""
    until = (ends or system_clock() + timedelta(hours=1)).astimezone(UTC).isoformat()
    return {
        "llm.yaml": GRANT % ("llm", "team-a", "trainer", "llm", until),
        "eval.yaml": GRANT % ("eval", "team-b", "scorer", "eval", until),
    }


def intent(ends: datetime | None = None) -> dict[str, str]:
    """All of it."""
    return workloads() | grants(ends)


async def entry_of(server: ServerUnderTest, spiffe_id: str = TRAINER) -> str:
    """The id of the entry that intent made for it."""
    listed = await server.admin.ListEntries(admin.ListEntriesRequest())
    return next(str(entry.id) for entry in listed.entries if entry.spiffe_id == spiffe_id)


class FabricNode:
    """An agent that keeps fabrics, connected."""

    def __init__(self, node: Node, stream: Stream) -> None:
        self.node = node
        self.stream = stream
        self.held = pb.FabricsUpdate()

    async def claim(self, *claims: pb.FabricClaim) -> None:
        """Say that these are all that stand."""
        await self.stream.say(fabric_claims=pb.FabricClaims(claims=claims))

    async def applied(self, **said: Any) -> None:
        """Say what became of the last update."""
        await self.stream.say(fabric_applied=pb.FabricApplied(revision=self.held.revision, **said))

    async def until(self, what: Callable[[FabricNode], bool]) -> None:
        """Hear updates until *what* is so; each is newer than the one before."""
        while not what(self):
            update = await self.stream.hear("fabrics")
            assert update.revision > self.held.revision
            self.held = update

    def members(self, job: str = LLM) -> set[str]:
        """The addresses that it holds of a job."""
        return {member.address for one in self.jobs(job) for member in one.members}

    def jobs(self, job: str = LLM) -> list[pb.FabricJob]:
        """What it is told of a job."""
        return [one for state in self.held.fabrics for one in state.jobs if one.job == job]

    @property
    def refusals(self) -> list[str]:
        """Why claims of it do not stand."""
        return [refusal.detail for refusal in self.held.refusals]


def claim_of(entry_id: str, *addresses: str, job: str = LLM, spiffe_id: str = TRAINER) -> pb.FabricClaim:
    """That a workload with that identity takes part, at these addresses."""
    return pb.FabricClaim(fabric=RAIL, job=job, entry_id=entry_id, addresses=addresses, spiffe_id=spiffe_id)


@asynccontextmanager
async def on_fabric(node: Node, **held: Any) -> AsyncIterator[FabricNode]:
    """*node*, connected, as an agent that keeps fabrics; it has heard the first update."""
    async with node.connected(fabrics=True, **held) as stream:
        kept = FabricNode(node, stream)
        await kept.until(lambda one: one.held.revision > 0)
        yield kept


@asynccontextmanager
async def new_node(server: ServerUnderTest) -> AsyncIterator[FabricNode]:
    """A node that has just attested."""
    async with on_fabric(await joined(server)) as kept:
        yield kept
