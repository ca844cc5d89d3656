"""Fabric and FabricGrant documents: their fields and the checks that need no other document."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ringfence.policy.fabric_fields import FabricCidr, InterfaceText, JobName, Pkey, Ports, SecurityGroup, Vlan, Vni
from ringfence.policy.fabrics import (
    ENFORCERS,
    PARTITIONS,
    Enforcer,
    Fabric,
    FabricKind,
    Partition,
    PartitionKind,
    Plane,
)
from ringfence.policy.fields import Name, Text, Time, problem
from ringfence.policy.model import Origin
from ringfence.policy.part import SOME, DocumentPart, Metadata, Part


class PartitionRef(Part):
    """What tells the tenants of one wire apart."""

    pkey: Pkey | None = None
    vlan: Vlan | None = None
    vni: Vni | None = None
    security_group: SecurityGroup | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if len(self.model_fields_set) != 1:
            what = "a partition is one of pkey, vlan, vni and securityGroup"
            raise problem("RF1112", what, "Write the one that the fabric's kind has")
        return self

    def meant(self) -> Partition:
        """The partition as a value of the model."""
        if self.security_group is not None:
            return Partition(PartitionKind.SECURITY_GROUP, group=self.security_group)
        numbers = {PartitionKind.PKEY: self.pkey, PartitionKind.VLAN: self.vlan, PartitionKind.VNI: self.vni}
        return next(Partition(kind, number) for kind, number in numbers.items() if number is not None)


class FabricSpec(Part):
    """What moves the bytes, over which interfaces, for whom, and what keeps everybody else off."""

    kind: Literal["infiniband", "roce", "efa", "slingshot", "tcp", "nvlink"]
    plane: Literal["service", "fabric", "storage", "management"] = "fabric"
    interfaces: Annotated[list[InterfaceText], SOME] | None = None
    cidrs: Annotated[list[FabricCidr], SOME] | None = None
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = None  # bytes; 576: RFC 791
    partition: PartitionRef | None = None
    ports: Annotated[list[Ports], SOME] | None = None
    tenants: Annotated[list[Name], SOME] | None = None
    enforced_by: Literal[
        "pkey",
        "switch-acl",
        "tc-offload",
        "security-group",
        "vni",
        "rdma-netns",
        "imex",
        "host-firewall",
        "nothing",
    ]

    @field_validator("partition")
    @classmethod
    def _of_its_kind(cls, partition: PartitionRef | None, info: ValidationInfo) -> PartitionRef | None:
        kind = _kind(info)
        if partition is None or kind is None or partition.meant().kind is PARTITIONS.get(kind):
            return partition
        fits = f"Write {PARTITIONS[kind].value}" if kind in PARTITIONS else "Leave it out: IMEX channels are per job"
        raise problem("RF1112", f"{kind.value} has no {partition.meant().kind.value}", fits)

    @field_validator("enforced_by")
    @classmethod
    def _can(cls, name: str, info: ValidationInfo) -> str:
        kind, enforcer = _kind(info), Enforcer(name)
        if kind is None or enforcer is Enforcer.NOTHING or enforcer in ENFORCERS[kind]:
            return name
        able = " or ".join(one.value for one in Enforcer if one in ENFORCERS[kind])
        raise problem("RF1113", _why_not(kind, enforcer), f"Write {able}, whichever does, or nothing")

    @model_validator(mode="after")
    def _has_interfaces(self) -> Self:
        if (self.kind == "nvlink") != (self.interfaces is None):
            hint = "Leave interfaces out of nvlink, and name those of every other kind"
            raise problem("RF1104", "a fabric has network interfaces, and NVLink none", hint)
        if self.kind == "nvlink" and (self.cidrs is not None or self.ports is not None or self.mtu is not None):
            raise problem("RF1104", "NVLink has no addresses, ports and packets", "Leave cidrs, ports and mtu out")
        return self


def _kind(info: ValidationInfo) -> FabricKind | None:
    """The kind of the fabric; None where that is what is wrong."""
    found = info.data.get("kind")
    return FabricKind(found) if found is not None else None


def _why_not(kind: FabricKind, enforcer: Enforcer) -> str:
    if enforcer is Enforcer.HOST_FIREWALL:
        return f"a host's firewall sees sockets, and the data of {kind.value} crosses none: it goes past the kernel"
    return f"{enforcer.value} enforces nothing on {kind.value}"


class FabricDocument(DocumentPart):
    """A network that no proxy stands in, and what is said of who is on it."""

    kind: Literal["Fabric"]
    metadata: Metadata
    spec: FabricSpec

    def meant(self, origin: Origin) -> Fabric:
        """The network as a value of the model, written at *origin*."""
        spec = self.spec
        return Fabric(
            namespace=self.metadata.namespace,
            name=self.metadata.name,
            kind=FabricKind(spec.kind),
            plane=Plane(spec.plane),
            interfaces=tuple(dict.fromkeys(spec.interfaces or ())),
            cidrs=tuple(sorted(set(spec.cidrs or ()))),
            mtu=spec.mtu or 0,
            partition=spec.partition.meant() if spec.partition is not None else None,
            ports=tuple(sorted(set(spec.ports or ()), key=lambda span: (span.first, span.last))),
            tenants=tuple(sorted(set(spec.tenants or ()))),
            enforced_by=Enforcer(spec.enforced_by),
            origin=origin,
        )


class FabricRef(Part):
    """A fabric by its name."""

    name: Name
    namespace: Name | None = None


class MemberRef(Part):
    """Who is granted a fabric: a workload, or every workload of a namespace."""

    workload: Name | None = None
    namespace: Name | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.model_fields_set:
            hint = "Write {workload: NAME}, {workload: NAME, namespace: NS} or {namespace: NS}"
            raise problem("RF1104", "a grant is for a workload or a namespace", hint)
        return self


class FabricGrantSpec(Part):
    """Who may use which fabric as which job, until when, and who answers for it."""

    fabric: FabricRef
    identities: Annotated[list[MemberRef], SOME]
    job: JobName
    expires: Time
    owner: Text
    reason: Text


class FabricGrantDocument(DocumentPart):
    """Leave for identities to use a fabric together; what no grant gives leave for stays off it."""

    kind: Literal["FabricGrant"]
    metadata: Metadata
    spec: FabricGrantSpec
