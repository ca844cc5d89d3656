"""What servers and agents tell each other of fabrics; an agent believes only what an operator could have written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.status import code_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.claims import Claim
from ringfence.fabric.membership import Told, ToldJob
from ringfence.policy.fabric_document import FabricDocument
from ringfence.policy.fabrics import Fabric
from ringfence.policy.model import Origin


@dataclass(frozen=True, slots=True)
class Refusal:
    """A claim that does not stand, and why."""

    fabric: str
    job: str
    spiffe_id: str
    entry_id: str
    code: int  # of gRPC
    detail: str

    @classmethod
    def of(cls, claim: Claim, error: RingfenceError) -> Refusal:
        """Of *claim*, because of *error*."""
        detail = f"{error.detail}. {error.hint}" if error.hint else error.detail
        return cls(claim.fabric, claim.job, claim.spiffe_id, claim.entry_id, code_of(error.kind), detail)


def claims_of(said: pb.FabricClaims, agent: str) -> tuple[Claim, ...]:
    """What *agent* claims, each claim once, its addresses in one spelling where they are addresses."""
    found = {
        (one.fabric, one.job, one.spiffe_id, one.entry_id): tuple(sorted({_spelled(text) for text in one.addresses}))
        for one in said.claims
    }
    return tuple(Claim(agent, *named, addresses) for named, addresses in found.items())


def update_message(revision: int, told: Told, refusals: Iterable[Refusal]) -> pb.FabricsUpdate:
    """All that an agent is to hold."""
    return pb.FabricsUpdate(
        revision=revision,
        fabrics=[pb.FabricState(fabric=fabric_message(one.fabric), jobs=map(_job, one.jobs)) for one in told],
        refusals=[
            pb.FabricRefusal(
                fabric=one.fabric,
                job=one.job,
                spiffe_id=one.spiffe_id,
                entry_id=one.entry_id,
                code=one.code,
                detail=one.detail,
            )
            for one in refusals
        ],
    )


def _job(told: ToldJob) -> pb.FabricJob:
    members = [pb.FabricMember(address=one.address, until=one.until) for one in told.members]
    return pb.FabricJob(job=told.job, spiffe_ids=told.spiffe_ids, expires_at=told.expires_at, members=members)


def _spelled(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return text  # it is judged, and refused, as it is


def fabric_message(fabric: Fabric) -> pb.FabricDocument:
    """*fabric* in full, spelled as in its document."""
    partition = fabric.partition
    return pb.FabricDocument(
        namespace=fabric.namespace,
        name=fabric.name,
        kind=fabric.kind.value,
        plane=fabric.plane.value,
        interfaces=map(str, fabric.interfaces),
        cidrs=fabric.cidrs,
        mtu=fabric.mtu,
        partition_kind=partition.kind.value if partition else "",
        partition_number=partition.number if partition else 0,
        partition_group=partition.group if partition else "",
        ports=map(str, fabric.ports),
        tenants=fabric.tenants,
        enforced_by=fabric.enforced_by.value,
        path=fabric.origin.path,
        line=fabric.origin.line,
    )


def fabric_of(said: pb.FabricDocument) -> Fabric:
    """The fabric that is told of; raises INVALID for one that no document may describe.

    Names, networks and ports become text for nft and the shell, so each passes the check that its document passed.
    """
    written = {
        "kind": "Fabric",
        "metadata": {"namespace": said.namespace, "name": said.name},
        "spec": {field: value for field, value in _spec(said).items() if value},
    }
    try:
        return FabricDocument.model_validate(written).meant(Origin(said.path, said.line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RingfenceError(
            Kind.INVALID,
            f"the server tells of a fabric {said.namespace}/{said.name} that cannot be: {place}: {first['msg']}",
            hint="Run agents and servers of one version",
        ) from None


def _spec(said: pb.FabricDocument) -> dict[str, Any]:
    number = said.partition_group or said.partition_number
    return {
        "kind": said.kind,
        "plane": said.plane,
        "interfaces": list(said.interfaces),
        "cidrs": list(said.cidrs),
        "mtu": said.mtu,
        "partition": {said.partition_kind: number} if said.partition_kind else None,
        "ports": [_port(text) for text in said.ports],
        "tenants": list(said.tenants),
        "enforcedBy": said.enforced_by,
    }


def _port(text: str) -> int | str:
    """As a document has it: a number for one, text for a range."""
    return int(text) if text.isascii() and text.isdecimal() else text
