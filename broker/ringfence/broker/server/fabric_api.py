"""The admin API's part on fabrics: who takes part in which job, who may not, and what the nodes hold of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.fabric.members import FAILED, Members
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.claims import Claim


@dataclass(frozen=True, slots=True)
class FabricApi:
    """What the service Server says of fabrics. *me* is the server's id."""

    members: Members
    me: str

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """Its methods by name."""
        return {"ListFabricMembers": self.list_members}

    async def list_members(self, asked: pb.ListFabricMembersRequest) -> pb.ListFabricMembersResponse:
        """All of them, in order; raises NOT_FOUND for a fabric that is not declared, CONFLICT for a name of several."""
        fabric = _fabric(self.members.view.leave.fabrics, asked.fabric)
        found = [
            one
            for one in (*self._standing(), *self._refused())
            if fabric in {"", one.fabric} and asked.job in {"", one.job, one.job.partition("/")[2]}
        ]
        found.sort(key=lambda one: (one.fabric, one.job, one.node, one.spiffe_id, one.entry_id))
        return pb.ListFabricMembersResponse(members=found)

    def _standing(self) -> Iterator[pb.FabricMembership]:
        for one, until in self.members.view.judged.standing.items():
            said = _said(one.claim, state="member", since=one.since, until=until)
            said.node_state, said.detail = self._of_node(one.claim.agent, one.server)
            yield said

    def _refused(self) -> Iterator[pb.FabricMembership]:
        """Of nodes that are connected here; another server knows of its own."""
        for agent, node in self.members.nodes.items():
            for claim, error in node.refused.items():
                state, _ = self._of_node(agent, self.me)
                yield _said(claim, state="refused", node_state=state, detail=error.detail)

    def _of_node(self, agent: str, server: str) -> tuple[str, str]:
        """What a node holds of its last update, and what failed there."""
        node = self.members.nodes.get(agent)
        if node is not None:
            return node.state, node.applied.detail if node.state == FAILED else ""
        return ("away", "") if server in {"", self.me} else ("elsewhere", "")


def _said(claim: Claim, **fields: Any) -> pb.FabricMembership:
    return pb.FabricMembership(
        fabric=claim.fabric,
        job=claim.job,
        spiffe_id=claim.spiffe_id,
        entry_id=claim.entry_id,
        node=claim.agent,
        addresses=claim.addresses,
        **fields,
    )


def _fabric(known: Iterable[str], name: str) -> str:
    """The key among *known* that *name* means; empty for no name."""
    if not name:
        return ""
    found = [key for key in known if name in {key, key.partition("/")[2]}]
    if not found:
        hint = "Declare it, or name one that `ringfence policy get` shows"
        raise RingfenceError(Kind.NOT_FOUND, f"there is no fabric {name} of the plane fabric", hint=hint)
    if len(found) > 1:
        detail = f"{name} is the name of {' and '.join(found)}"
        raise RingfenceError(Kind.CONFLICT, detail, hint="Name the fabric as NAMESPACE/NAME")
    return found[0]
