"""What a node holds of its fabrics, for those who ask it."""

from __future__ import annotations

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.agent.fabrics.holding import Held
from ringfence.broker.agent.fabrics.keeper import FabricKeeper
from ringfence.broker.agent.fabrics.said import SaidFabric


def shown(keeper: FabricKeeper) -> admin_pb2.ShowFabricsResponse:
    """By fabric: what the server said, and what the node made of it."""
    joined = keeper.joins.jobs
    return admin_pb2.ShowFabricsResponse(
        revision=keeper.said.revision,
        fabrics=[
            _fabric(one, keeper.done.held.get(key), sorted(job for fabric, job in joined if fabric == key))
            for key, one in keeper.said.fabrics.items()
        ],
        closed_ports=sorted(keeper.done.closed),
    )


def _fabric(said: SaidFabric, held: Held | None, joined: list[str]) -> admin_pb2.HeldFabric:
    found = held or Held()
    return admin_pb2.HeldFabric(
        fabric=said.document,
        interfaces=found.interfaces,
        addresses=found.addresses,
        jobs=[
            pb.FabricJob(
                job=job.key,
                spiffe_ids=job.spiffe_ids,
                expires_at=job.expires_at,
                members=[pb.FabricMember(address=text, until=until) for text, until in found.ends(job.key).items()],
            )
            for job in said.jobs.values()
        ],
        joined=joined,
        state=_state(held),
        detail=str(found.error or ""),
    )


def _state(held: Held | None) -> str:
    if held is None:
        return "pending"
    if held.error is not None:
        return "failed"
    return "applied" if held.interfaces else "absent"
