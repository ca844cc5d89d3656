"""What the server said of fabrics last, as the agent believes it: only what can be, each fabric by itself; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.fabric.message import fabric_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.fabrics import Fabric

# It becomes the name of a set of nft.
_JOB = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class SaidJob:
    """A job that may use a fabric: who may claim it here, until when, and its members by address with their ends."""

    key: str  # NAMESPACE/JOB
    spiffe_ids: tuple[str, ...]  # with a star at the end: all that begin so
    expires_at: int  # Unix seconds
    members: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def takes(self, spiffe_id: str) -> bool:
        """Whether that identity may take part in it."""
        return any(spiffe_id.startswith(one[:-1]) if one.endswith("*") else spiffe_id == one for one in self.spiffe_ids)


@dataclass(frozen=True, slots=True)
class SaidFabric:
    """A fabric and its jobs by key."""

    fabric: Fabric
    document: pb.FabricDocument
    jobs: Mapping[str, SaidJob]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claim of ours does not stand."""

    code: int  # gRPC status code
    detail: str


@dataclass(frozen=True, slots=True)
class Said:
    """All of it. A fabric that cannot be is among the `wrong`, and what the node holds of it stays, without members."""

    revision: int = 0
    fabrics: Mapping[str, SaidFabric] = field(default_factory=lambda: MappingProxyType({}))
    wrong: Mapping[str, RingfenceError] = field(default_factory=lambda: MappingProxyType({}))
    refusals: Mapping[tuple[str, str, str, str], Refusal] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, update: pb.FabricsUpdate) -> Said:
        """What *update* says; it raises nothing: a fabric that is wrong must not keep others from being closed."""
        fabrics: dict[str, SaidFabric] = {}
        wrong: dict[str, RingfenceError] = {}
        for state in update.fabrics:
            key = f"{state.fabric.namespace}/{state.fabric.name}"
            try:
                fabrics[key] = SaidFabric(fabric_of(state.fabric), state.fabric, dict(map(_job, state.jobs)))
            except RingfenceError as error:
                wrong[key] = error
        refusals = {
            (one.fabric, one.job, one.spiffe_id, one.entry_id): Refusal(one.code, one.detail) for one in update.refusals
        }
        return cls(update.revision, fabrics, wrong, refusals)

    def job(self, fabric: str, job: str, now: float) -> SaidJob | None:
        """The job on that fabric, if there is one whose grant has not ended at *now*, in Unix seconds."""
        found = self.fabrics[fabric].jobs.get(job) if fabric in self.fabrics else None
        return found if found is not None and now < found.expires_at else None


def _job(said: pb.FabricJob) -> tuple[str, SaidJob]:
    if not _JOB.fullmatch(said.job):
        detail = f"the server tells of a job {said.job!r:.80}, which is no NAMESPACE/JOB"
        raise RingfenceError(Kind.INVALID, detail, hint="Run agents and servers of one version")
    members = {one.address: min(one.until, said.expires_at) for one in said.members}
    return said.job, SaidJob(said.job, tuple(said.spiffe_ids), said.expires_at, members)
