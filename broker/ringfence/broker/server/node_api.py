"""The admin API's part on nodes: which agents attested, and how to be rid of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.entry import AGENT_PREFIX
from ringfence.broker.revoking import check_reason
from ringfence.broker.server.agents import Agents
from ringfence.broker.store.nodes import Node
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

_NODES_A_CALL = 1_000


@dataclass(frozen=True, slots=True)
class NodeApi:
    """ListNodes, EvictNodes and BanNodes of the service Server."""

    agents: Agents
    trust_domain: TrustDomain

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """What answers each call."""
        return {"ListNodes": self.list_nodes, "EvictNodes": self.evict_nodes, "BanNodes": self.ban_nodes}

    async def list_nodes(self, asked: pb.ListNodesRequest) -> pb.ListNodesResponse:
        """Nodes, the first that attested first; raises NOT_FOUND for an ID that names none."""
        known = self.agents.every()
        wanted = set(asked.spiffe_ids)
        if missing := sorted(wanted - {node.spiffe_id for node, _ in known}):
            raise RingfenceError(Kind.NOT_FOUND, f"there is no node {missing[0]}", hint="Run `ringfence node list`")
        found = [
            _message(node, streams)
            for node, streams in known
            if (not wanted or node.spiffe_id in wanted) and asked.attestor in {"", node.attestor}
        ]
        return pb.ListNodesResponse(nodes=found)

    async def evict_nodes(self, asked: pb.EvictNodesRequest) -> pb.NodeResults:
        """Have nodes attest anew; one that is not known, or banned, is left as it is."""
        results = []
        agents = self.agents_of(asked.spiffe_ids)
        if asked.dry_run:
            return pb.NodeResults(
                results=self._would(agents, "evicted", lambda node: node is not None and not node.banned)
            )
        for agent in agents:
            streams = await self.agents.evict(agent)
            results.append(_result(agent, "unchanged" if streams is None else "evicted", streams))
        return pb.NodeResults(results=results)

    async def ban_nodes(self, asked: pb.BanNodesRequest) -> pb.NodeResults:
        """Refuse nodes for good, or (lift) no longer; a ban is changed by another reason."""
        results = []
        agents = self.agents_of(asked.spiffe_ids)
        check_reason(asked.reason)
        if asked.dry_run:
            return pb.NodeResults(results=self._would_ban(agents, asked))
        for agent in agents:
            if asked.lift:
                results.append(_result(agent, "unbanned" if await self.agents.lift(agent) else "unchanged", None))
            else:
                streams = await self.agents.ban(agent, asked.reason)
                results.append(_result(agent, "unchanged" if streams is None else "banned", streams))
        return pb.NodeResults(results=results)

    def _would_ban(self, agents: Sequence[SpiffeId], asked: pb.BanNodesRequest) -> Iterator[pb.NodeResult]:
        if asked.lift:
            return self._would(agents, "unbanned", lambda node: node is not None and node.banned)
        said = asked.reason
        return self._would(
            agents, "banned", lambda node: node is None or not node.banned or said not in {"", node.reason}
        )

    def _would(
        self, agents: Sequence[SpiffeId], action: str, changes: Callable[[Node | None], bool]
    ) -> Iterator[pb.NodeResult]:
        """What *action* would do to each: something to those that it *changes*."""
        known = {node.spiffe_id: (node, streams) for node, streams in self.agents.every()}
        for agent in agents:
            node, streams = known.get(str(agent), (None, 0))
            yield _result(agent, action, streams) if changes(node) else _result(agent, "unchanged", None)

    def agents_of(self, texts: Sequence[str]) -> list[SpiffeId]:
        """Those nodes; all of them are checked before anything is done, and INVALID is raised for any other."""
        if len(texts) > _NODES_A_CALL:
            raise RingfenceError(Kind.INVALID, f"at most {_NODES_A_CALL} nodes a call")
        found = [SpiffeId.parse(text) for text in texts]
        for agent in found:
            if agent.trust_domain != self.trust_domain or not agent.path.startswith(AGENT_PREFIX):
                raise RingfenceError(Kind.INVALID, f"{agent} is no node of ours", hint="Run `ringfence node list`")
        return found


def _message(node: Node, streams: int) -> pb.Node:
    return pb.Node(
        spiffe_id=node.spiffe_id,
        attestor=node.attestor,
        attested_at=node.attested_at,
        expires_at=node.not_after,
        serial=node.serial,
        banned=node.banned,
        streams=streams,
        selectors=node.selectors,
        can_reattest=node.can_reattest,
        reason=node.reason,
    )


def _result(agent: SpiffeId, action: str, streams: int | None) -> pb.NodeResult:
    return pb.NodeResult(spiffe_id=str(agent), action=action, streams=streams or 0)
