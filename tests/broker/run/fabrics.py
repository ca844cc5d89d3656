"""An agent's service Fabrics that answers as it is told: what `ringfence run --fabric` is held against."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1.agent_pb2 import FabricDocument, FabricMember
from ringfence.proto.lane import Call, Method, methods_of
from ringfence.proto.service import service_of
from ringfence.proto.status import Status


def document(interface: str = "fab0") -> FabricDocument:
    """A fabric of sockets with one interface."""
    return FabricDocument(
        namespace="platform",
        name="fab",
        kind="tcp",
        plane="fabric",
        interfaces=[interface],
        cidrs=["10.91.0.0/24"],
        ports=["50000-51000"],
        tenants=["team-a"],
        enforced_by="host-firewall",
    )


@dataclass
class Fabrics:
    """`refusal` and `closes` are read at each Join; `end` ends every stream there is."""

    answer: admin_pb2.JoinFabricResponse = field(
        default_factory=lambda: admin_pb2.JoinFabricResponse(
            fabric=document(),
            job="team-a/llama",
            interfaces=["fab0"],
            addresses=["10.91.0.1"],
            members=[FabricMember(address="10.91.0.1", until=4_000_000_000)],
        )
    )
    refusal: Status | None = None
    closes: bool = True
    joins: list[admin_pb2.JoinFabricRequest] = field(default_factory=list)
    joined: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    _news: set[asyncio.Queue[admin_pb2.JoinFabricResponse | Status]] = field(default_factory=set)

    def methods(self) -> Mapping[str, Method]:
        """For a lane."""
        return methods_of(service_of(admin_pb2, "Fabrics"), {"Join": self._join})

    def end(self, status: Status) -> None:
        """Take every membership away, or lose it."""
        for queue in self._news:
            queue.put_nowait(status)

    def say(self, answer: admin_pb2.JoinFabricResponse) -> None:
        """A change."""
        for queue in self._news:
            queue.put_nowait(answer)

    async def _join(self, call: Call) -> None:
        request = await call.receive()
        self.joins.append(request)
        if self.refusal is not None:
            raise self.refusal
        answer = admin_pb2.JoinFabricResponse()
        answer.CopyFrom(self.answer)
        answer.closed_ports.extend(request.closed_ports if self.closes else ())
        news: asyncio.Queue[admin_pb2.JoinFabricResponse | Status] = asyncio.Queue()
        self._news.add(news)
        try:
            await call.send(answer)
            self.joined.put_nowait(None)
            while not isinstance(said := await news.get(), Status):
                await call.send(said)
            raise said
        finally:
            self._news.discard(news)
