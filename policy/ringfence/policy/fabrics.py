"""Networks for collectives as frozen values: what they are, who enforces them, and who has leave to use them.

What crosses such a network passes no proxy, and of most kinds no firewall of the host either: it sees sockets, and not
the queue pairs of verbs. So each says what keeps strangers off it, and that is asked to be able to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringfence.policy.callers import Source
    from ringfence.policy.model import Origin

DEFAULT_PKEY = 0x7FFF  # the partition that everybody is in where the subnet manager is told of none (opensm)


class FabricKind(Enum):
    """What moves the bytes."""

    INFINIBAND = "infiniband"
    ROCE = "roce"
    EFA = "efa"
    SLINGSHOT = "slingshot"
    TCP = "tcp"
    NVLINK = "nvlink"

    @property
    def seen_by_host(self) -> bool:
        """Whether the data crosses sockets, so that a packet filter on the node sees it."""
        return self is FabricKind.TCP


class Plane(Enum):
    """What a network is for; only collectives have one that grants speak of."""

    SERVICE = "service"
    FABRIC = "fabric"
    STORAGE = "storage"
    MANAGEMENT = "management"


class PartitionKind(Enum):
    """What tells tenants of one wire apart."""

    PKEY = "pkey"  # 15 bits: the top bit of a table's entry is full membership, and no part of the key
    VLAN = "vlan"
    VNI = "vni"
    SECURITY_GROUP = "securityGroup"


class Enforcer(Enum):
    """What keeps those off a fabric who have no leave to be on it."""

    PKEY = "pkey"  # subnet manager, switches and adapters of InfiniBand
    SWITCH_ACL = "switch-acl"  # VLAN and access list, in the switches
    TC_OFFLOAD = "tc-offload"  # flow rules on the representor of a virtual function, in the adapter
    SECURITY_GROUP = "security-group"  # the cloud, at the interface
    VNI = "vni"  # adapters and switches of Slingshot
    RDMA_NETNS = "rdma-netns"  # the kernel, which shows a device in one network namespace: `rdma system` exclusive
    IMEX = "imex"  # the driver of NVLink, by channel
    HOST_FIREWALL = "host-firewall"  # a packet filter on the node
    NOTHING = "nothing"  # whoever is on the wire is in


PARTITIONS: Mapping[FabricKind, PartitionKind] = MappingProxyType(
    {
        FabricKind.INFINIBAND: PartitionKind.PKEY,
        FabricKind.ROCE: PartitionKind.VLAN,
        FabricKind.EFA: PartitionKind.SECURITY_GROUP,
        FabricKind.SLINGSHOT: PartitionKind.VNI,
        FabricKind.TCP: PartitionKind.VLAN,
    }
)

# What can enforce a kind at all; NOTHING is said of any.
ENFORCERS: Mapping[FabricKind, frozenset[Enforcer]] = MappingProxyType(
    {
        FabricKind.INFINIBAND: frozenset({Enforcer.PKEY, Enforcer.RDMA_NETNS}),
        FabricKind.ROCE: frozenset({Enforcer.SWITCH_ACL, Enforcer.TC_OFFLOAD, Enforcer.RDMA_NETNS}),
        FabricKind.EFA: frozenset({Enforcer.SECURITY_GROUP}),
        FabricKind.SLINGSHOT: frozenset({Enforcer.VNI}),
        FabricKind.TCP: frozenset({Enforcer.SWITCH_ACL, Enforcer.TC_OFFLOAD, Enforcer.HOST_FIREWALL}),
        FabricKind.NVLINK: frozenset({Enforcer.IMEX}),
    }
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a wire: a `number`, or the `group` of a cloud."""

    kind: PartitionKind
    number: int = 0  # the key's value and no index of a table
    group: str = ""

    def __str__(self) -> str:
        if self.kind is PartitionKind.PKEY:
            return f"pkey {self.number:#06x}"
        return f"{self.kind.value} {self.group or self.number}"


class InterfaceForm(Enum):
    """What the text of an interface is compared with."""

    NAME = "name"
    PREFIX = "prefix"
    PCI = "pci"


@dataclass(frozen=True, slots=True)
class Interface:
    """The interfaces of a node that a fabric has: one by its name or PCI address, or all whose names begin so."""

    form: InterfaceForm
    text: str  # without the star; a PCI address is DOMAIN:BUS:DEVICE.FUNCTION in lower case

    def takes(self, name: str, pci: str = "") -> bool:
        """Whether an interface of that name, at that PCI address where it has one, is meant."""
        if self.form is InterfaceForm.PCI:
            return self.text == pci.lower()
        return name.startswith(self.text) if self.form is InterfaceForm.PREFIX else name == self.text

    def __str__(self) -> str:
        return f"{self.text}*" if self.form is InterfaceForm.PREFIX else self.text


@dataclass(frozen=True, slots=True)
class PortSpan:
    """TCP ports, both ends among them."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Fabric:
    """A network that no proxy stands in; what no grant gives leave for is to stay off it."""

    namespace: str
    name: str
    kind: FabricKind
    plane: Plane
    interfaces: tuple[Interface, ...]  # in the order written: the first is the one to bootstrap on; NVLink has none
    cidrs: tuple[str, ...]  # sorted; none where nothing on it has an address
    mtu: int  # bytes; 0: not said
    partition: Partition | None  # of the kind that PARTITIONS has for it
    ports: tuple[PortSpan, ...]  # that sockets of a job may use among themselves; sorted; none: no socket may
    tenants: tuple[str, ...]  # namespaces whose workloads may be granted it; sorted
    enforced_by: Enforcer
    origin: Origin = field(compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among fabrics."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class FabricGrant:
    """Leave for identities to use a fabric together, as one job, until its end."""

    namespace: str
    name: str
    fabric: str  # its key
    sources: tuple[Source, ...]  # each one identity, or every workload of a namespace
    job: str
    owner: str
    reason: str
    expires: datetime
    origin: Origin = field(compare=False)

    @property
    def key(self) -> str:
        """`namespace/name`, unique among grants."""
        return f"{self.namespace}/{self.name}"

    @property
    def job_key(self) -> str:
        """`namespace/job`: jobs that two namespaces call by one name are two."""
        return f"{self.namespace}/{self.job}"

    def in_force(self, now: datetime) -> bool:
        """Whether it holds: from its end on it is as if it were not there."""
        return now < self.expires
