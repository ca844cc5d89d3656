"""A keeper of fabrics over a node that only exists in the test, with the service that workloads join by."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.callers import Callers
from ringfence.broker.agent.fabrics.api import FabricsApi
from ringfence.broker.agent.fabrics.holding import Held, Jobs
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.work import Work
from ringfence.broker.agent.storage import DataFolder
from ringfence.broker.agent.watches import Watches
from ringfence.broker.attest.launch import LaunchAttestor
from ringfence.broker.attest.unix import UnixAttestor
from ringfence.broker.status import hidden
from ringfence.certs.authority import Authority
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.fabric.plan import members_of
from ringfence.policy.fabrics import Fabric
from ringfence.proto.client import Client
from ringfence.proto.lane import Lane
from ringfence.proto.service import service_of

FABRIC, JOB = "team-a/fab", "team-a/llama"
OWN, PEER = "10.91.0.1", "10.91.0.2"
TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
ENTRY = pb.Entry(id="e1", spiffe_id=TRAINER, selectors=[f"unix:uid:{os.geteuid()}"], x509_ttl=60, jwt_ttl=60)
NEVER = 4_000_000_000  # Unix seconds
NOW = 1_800_000_000.0


class FakeNode:
    """Holds what it is told, or fails as the test says; it has one address on every fabric."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, dict[str, int]]] = {}
        self.closed: frozenset[int] = frozenset()
        self.addresses: tuple[str, ...] = (OWN,)
        self.error: RingfenceError | None = None
        self.story: list[str] = []
        self.looks = self.settles = 0
        self.may_go = threading.Event()
        self.may_go.set()

    def look(self) -> None:
        """As Holding."""
        self.looks += 1

    def settle(self, fabric: Fabric, jobs: Jobs, now: float, others: Iterable[Fabric]) -> Held:
        """As Holding."""
        del now, others
        self.settles += 1
        assert self.may_go.wait(30)
        if self.error is not None:
            return Held(error=self.error)
        self.held[fabric.key] = {job: dict(ends) for job, ends in jobs.items()}
        self.story.append(f"settle {fabric.key}")
        return Held(("fab0",) if self.addresses else (), self.addresses, members_of(fabric, jobs))

    def only_fewer(self, key: str, now: float, error: RingfenceError) -> Held:
        """As Holding."""
        del now
        self.held[key] = {}
        return Held(error=error)

    def remove(self, key: str) -> None:
        """As Holding."""
        self.held.pop(key, None)
        self.story.append(f"remove {key}")

    def close_ports(self, ports: frozenset[int]) -> None:
        """As Holding."""
        self.closed = ports

    def closed_ports(self) -> frozenset[int]:
        """As Holding."""
        return self.closed


@dataclass
class FakeWire:
    """A stream to the server that the test reads, while it stands."""

    connected: bool = True
    sent: list[pb.AgentMessage] = field(default_factory=list)

    def tell(self, message: pb.AgentMessage) -> bool:
        """As Link."""
        if self.connected:
            self.sent.append(message)
        return self.connected

    @property
    def claims(self) -> list[list[tuple[str, str, str]]]:
        """Each FabricClaims that was said: job, entry and addresses of each claim."""
        said = [one.fabric_claims for one in self.sent if one.HasField("fabric_claims")]
        return [[(one.job, one.entry_id, ",".join(one.addresses)) for one in each.claims] for each in said]

    @property
    def applied(self) -> list[tuple[int, int]]:
        """Each FabricApplied: revision and code."""
        said = [one.fabric_applied for one in self.sent if one.HasField("fabric_applied")]
        return [(one.revision, one.code) for one in said]


class Quiet:
    """A node of which nothing is heard."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def close(self) -> None:
        """As NodeChanges."""


def told(
    members: Mapping[str, int] | None = None,
    *,
    revision: int = 1,
    ids: tuple[str, ...] = (TRAINER,),
    expires: int = NEVER,
    refusals: tuple[pb.FabricRefusal, ...] = (),
    jobs: tuple[str, ...] = (JOB,),
    fabrics: tuple[str, ...] = ("fab",),
    **document: Any,
) -> pb.FabricsUpdate:
    """The server's word: a fabric and a job on it with *members*."""
    said = [
        pb.FabricJob(
            job=job,
            spiffe_ids=ids,
            expires_at=expires,
            members=[pb.FabricMember(address=address, until=until) for address, until in (members or {}).items()],
        )
        for job in jobs
    ]
    return pb.FabricsUpdate(
        revision=revision, fabrics=[_state(name, said, document) for name in fabrics], refusals=refusals
    )


def _state(name: str, jobs: list[pb.FabricJob], document: dict[str, Any]) -> pb.FabricState:
    fields: dict[str, Any] = {
        "namespace": "team-a",
        "name": name,
        "kind": "tcp",
        "plane": "fabric",
        "interfaces": ["fab*"],
        "cidrs": ["10.91.0.0/24"],
        "ports": ["50000-51000"],
        "tenants": ["team-a"],
        "enforced_by": "host-firewall",
        "path": "fabric.yaml",
        "line": 1,
    }
    return pb.FabricState(fabric=pb.FabricDocument(**fields | document), jobs=jobs)


class World:
    """All of it, in this process."""

    def __init__(self, folder: Path, *, hold: float = 20.0, grace: float = 30.0) -> None:
        self.now = NOW
        self.node, self.wire = FakeNode(), FakeWire()
        self.folder = DataFolder(folder / "agent")
        self.socket = folder / "agent.sock.admin"
        authority = Authority.create(TrustDomain("example.org"), MemoryKeys(), now=datetime.fromtimestamp(NOW, UTC))
        self.cache = Cache(authority.bundle(1), clock=lambda: datetime.fromtimestamp(self.now, UTC))
        self.launches = LaunchAttestor()
        self.callers = Callers((UnixAttestor(),), self.launches, lambda: self.cache.book.wanted)
        self.watches = Watches(self.cache, self.callers, hold=hold)
        self.cache.listen(self.watches)
        self.keeper = FabricKeeper(
            Work(self.folder, lambda: self.now, self.node), self.wire, lambda: self.now, grace=grace, listen=Quiet
        )
        self.entries(ENTRY)

    def entries(self, *entries: pb.Entry) -> None:
        """These and no others."""
        self.cache.on_entries(pb.EntriesUpdate(full=True, upserts=entries))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for *holds*."""
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110  # whatever it is, it has no event
                await asyncio.sleep(0.002)

    async def tell(self, update: pb.FabricsUpdate) -> None:
        """Hear *update* from the server, and wait until the node has it."""
        self.keeper.on_update(update)
        await self.until(lambda: self.wire.applied and self.wire.applied[-1][0] == update.revision)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """The keeper at work, and its service on a socket."""
    await asyncio.to_thread(world.folder.open)
    await world.keeper.restore()
    lane = Lane(FabricsApi(world.watches, world.keeper).methods(), on_error=hidden)
    await lane.listen_unix(world.socket, 0o600)
    going = asyncio.create_task(world.keeper.run())
    try:
        yield world
    finally:
        world.node.may_go.set()
        await lane.drain(0.02)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        world.folder.close()


@asynccontextmanager
async def joined(world: World, *ports: int, fabric: str = FABRIC, job: str = JOB) -> AsyncIterator[Any]:
    """The stream of a workload that is this process, on a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"unix:{world.socket}", options=options) as channel:
        asked = admin_pb2.JoinFabricRequest(fabric=fabric, job=job, closed_ports=ports)
        call = Client(channel, service_of(admin_pb2, "Fabrics")).Join(asked, timeout=60)
        yield call
        call.cancel()
