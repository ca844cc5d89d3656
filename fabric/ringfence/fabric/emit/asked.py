"""What is asked of an emitter: a fabric of the model, and the facts that no model has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.fabrics import Fabric, FabricGrant, FabricKind, Plane
from ringfence.policy.model import Model, Origin


@dataclass(frozen=True, slots=True)
class Facts:
    """What belongs to one site; each is empty where it was not said, and an emitter refuses without those it needs."""

    guids: tuple[str, ...] = ()  # of ports on InfiniBand: 16 hexadecimal digits, with 0x or without
    resource: str = ""  # what a device plugin calls the virtual functions: PREFIX/NAME of pods' limits
    master: str = ""  # a node's interface that macvlan stands on
    ipam: str = ""  # JSON for the CNI
    operator: str = ""  # the namespace that the SR-IOV operator watches
    label: str = ""  # key of the pods' label that has the name of the workload
    count: int = 0  # devices for each pod
    vpc: str = ""  # of a cloud, by the name or id that the cloud has for it
    subnets: tuple[str, ...] = ()  # one for each card
    vnis: str = ""  # FIRST-LAST that a scheduler may hand out
    partitions: tuple[str, ...] = ()  # of a scheduler, whose nodes are on the fabric
    groups: tuple[str, ...] = ()  # GROUP=NAMESPACE: of which tenant the users of a scheduler are


@dataclass(frozen=True, slots=True)
class Asked:
    """One fabric for one target."""

    target: str
    model: Model
    fabric: Fabric
    now: datetime  # grants that ended by then are as if they were not there
    facts: Facts

    @property
    def grants(self) -> tuple[FabricGrant, ...]:
        """In force for the fabric, by key."""
        found = (grant for grant in self.model.fabric_grants.values() if grant.fabric == self.fabric.key)
        return tuple(sorted((one for one in found if one.in_force(self.now)), key=lambda grant: grant.key))

    @property
    def name(self) -> str:
        """`NAMESPACE-NAME` of the fabric, for what has one name only."""
        return f"{self.fabric.namespace}-{self.fabric.name}"

    def comment(self, *grants: FabricGrant) -> str:
        """Where the fabric is written, and *grants*: what is first in every format that has comments."""
        return f"{from_line(self.fabric.origin, *(grant.origin for grant in grants))}: fabric {self.fabric.key}"

    def only(self, *kinds: FabricKind, why: str) -> None:
        """Raises INVALID for another plane than collectives', or another kind of fabric, which is told *why*."""
        if self.fabric.plane is not Plane.FABRIC:
            raise self.refused(
                f"is of the plane {self.fabric.plane.value}, and nothing is emitted for those", "Name another fabric"
            )
        if self.fabric.kind not in kinds:
            fits = ", ".join(kind.value for kind in kinds)
            what = f"is of the kind {self.fabric.kind.value}, and {self.target} is for {fits}: {why}"
            raise self.refused(what, "docs/fabric-emit.md has the targets of each kind")

    def needs(self, option: str, value: str) -> str:
        """*value*, which *option* says; raises INVALID where it is empty."""
        if not value:
            raise self.refused(f"does not say what {self.target} needs", f"Say it with {option}")
        return value

    def tenants(self) -> tuple[str, ...]:
        """Raises INVALID where nobody may be granted the fabric, for then there is nobody to emit for."""
        if not self.fabric.tenants:
            raise self.refused("has no tenants, and so nobody to attach", "Write the namespaces that may use it")
        return self.fabric.tenants

    def refused(self, what: str, hint: str) -> RingfenceError:
        """Why there is nothing to emit, with the place of the fabric."""
        return RingfenceError(
            Kind.INVALID, f"fabric {self.fabric.key} {what}", where=str(self.fabric.origin), hint=hint
        )


def from_line(*origins: Origin) -> str:
    """`from FILE:LINE, ...` for a comment; what a path may hold that would end the comment is a question mark."""
    text = ", ".join(map(str, origins))
    return f"from {''.join(char if char.isprintable() else '?' for char in text)}"
