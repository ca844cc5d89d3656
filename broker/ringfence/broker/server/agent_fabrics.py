"""What one agent's stream says and hears of fabrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.fabric import events
from ringfence.broker.fabric.admitting import Admitting
from ringfence.broker.fabric.members import Node, Update
from ringfence.broker.fabric.message import claims_of
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.proto.lane.framing import Framed


class AgentFabrics:
    """Of an *agent* that keeps its node's fabrics; made by `of_stream`, and good inside that alone."""

    def __init__(self, admitting: Admitting, agent: SpiffeId, node: Node) -> None:
        self._admitting = admitting
        self._agent = agent
        self._node = node
        self._told: Update | None = None

    @classmethod
    @contextmanager
    def of_stream(cls, admitting: Admitting | None, agent: SpiffeId, hello: pb.Hello) -> Iterator[AgentFabrics | None]:
        """For as long as the stream lives; None for an agent that keeps no fabrics."""
        if admitting is None or not hello.fabrics:
            yield None
            return
        with admitting.stream(agent) as node:
            yield cls(admitting, agent, node)

    def claims(self, said: pb.FabricClaims) -> None:
        """Take in all that it claims; what comes of it is pushed."""
        self._admitting.claim(self._node, claims_of(said, str(self._agent)))

    def applied(self, said: pb.FabricApplied) -> None:
        """Take note of what it holds."""
        node = self._node
        node.applied = said
        since = asyncio.get_running_loop().time() - node.sent_at if said.revision == node.sent else None
        events.applied(str(self._agent), said.revision, said.code, said.detail, since)

    def news(self) -> Iterator[Framed]:
        """All that it is to hold, if that is anything else than it was told on this stream."""
        members = self._admitting.members
        update = members.update_of(self._agent)
        if update == self._told:
            return
        self._told = update
        self._node.sent, message = members.message(update)
        self._node.sent_at = asyncio.get_running_loop().time()
        yield message
