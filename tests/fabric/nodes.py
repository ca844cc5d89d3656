"""Small fabrics and nodes for tests."""

from __future__ import annotations

from typing import Any

from ringfence.fabric.node import Node, NodeInterface, RdmaPort
from ringfence.policy.fabrics import (
    Enforcer,
    Fabric,
    FabricKind,
    Interface,
    InterfaceForm,
    Partition,
    PartitionKind,
    Plane,
    PortSpan,
)
from ringfence.policy.model import Origin

SPAN = PortSpan(50000, 51000)
TABLE = (0xFFFF, 0x8123, 0x0)


def named(*names: str) -> tuple[Interface, ...]:
    """Interfaces by name, by prefix with a star behind it, by PCI address with a colon in it."""
    return tuple(_interface(name) for name in names)


def _interface(name: str) -> Interface:
    if ":" in name:
        return Interface(InterfaceForm.PCI, name)
    if name.endswith("*"):
        return Interface(InterfaceForm.PREFIX, name[:-1])
    return Interface(InterfaceForm.NAME, name)


def fabric(kind: FabricKind, *interfaces: str, **fields: Any) -> Fabric:
    """A fabric `team-a/fab` of that kind, with one span of ports unless *fields* say otherwise."""
    made: dict[str, Any] = {
        "namespace": "team-a",
        "name": "fab",
        "kind": kind,
        "plane": Plane.FABRIC,
        "interfaces": named(*interfaces),
        "cidrs": (),
        "mtu": 0,
        "partition": None,
        "ports": (SPAN,),
        "tenants": (),
        "enforced_by": Enforcer.NOTHING,
        "origin": Origin("fabric.yaml", 1),
    }
    return Fabric(**made | fields)


def pkey(value: int) -> Partition:
    """A partition of InfiniBand."""
    return Partition(PartitionKind.PKEY, value)


def infiniband(number: int, *, table: tuple[int, ...] = TABLE) -> RdmaPort:
    """Port 1 of `mlx5_NUMBER`, with IPoIB on `ibNUMBER`."""
    return RdmaPort(f"mlx5_{number}", 1, "InfiniBand", table, (f"ib{number}",), f"0000:5{number}:00.0")


ETH = NodeInterface("eth0", "0000:01:00.0")
IB_NODE = Node(
    (ETH, NodeInterface("ib0", "0000:50:00.0"), NodeInterface("ib1", "0000:51:00.0"), NodeInterface("lo")),
    (infiniband(0), infiniband(1)),
)
ROCE_NODE = Node(
    (ETH, NodeInterface("rdma0", "0000:a0:00.0")),
    (RdmaPort("mlx5_0", 1, "Ethernet", (0xFFFF,), ("rdma0",), "0000:a0:00.0"),),
)
EFA_NODE = Node(
    (ETH,),
    (
        RdmaPort("rdmap16s27", 1, "Unspecified", (0xFFFF,), (), "0000:10:1b.0"),
        RdmaPort("rdmap32s27", 1, "Unspecified", (0xFFFF,), (), "0000:20:1b.0"),
    ),
)
CXI_NODE = Node(
    (ETH, NodeInterface("hsn0", "0000:21:00.0")), (RdmaPort("cxi0", 1, "Slingshot", (), ("hsn0",), "0000:21:00.0"),)
)
TCP_NODE = Node((ETH, NodeInterface("fab0"), NodeInterface("fab01"), NodeInterface("fab1")))

# Each kind as it is found on a node of its own.
KINDS = {
    "infiniband": (
        fabric(
            FabricKind.INFINIBAND,
            "mlx5_*",
            cidrs=("10.91.0.0/16",),
            partition=pkey(0x123),
            enforced_by=Enforcer.PKEY,
        ),
        IB_NODE,
        "",
    ),
    "roce": (
        fabric(
            FabricKind.ROCE,
            "0000:a0:00.0",
            cidrs=("10.92.0.0/24", "10.92.1.0/24"),
            partition=Partition(PartitionKind.VLAN, 120),
            enforced_by=Enforcer.SWITCH_ACL,
        ),
        ROCE_NODE,
        "",
    ),
    "efa": (fabric(FabricKind.EFA, "rdmap*", ports=(), enforced_by=Enforcer.SECURITY_GROUP), EFA_NODE, "eth0"),
    "slingshot": (
        fabric(
            FabricKind.SLINGSHOT,
            "hsn0",
            cidrs=("10.93.0.0/16",),
            partition=Partition(PartitionKind.VNI, 1044),
            enforced_by=Enforcer.VNI,
        ),
        CXI_NODE,
        "",
    ),
    "tcp": (
        fabric(FabricKind.TCP, "fab0", "fab1", cidrs=("fd00:91::/64",), enforced_by=Enforcer.HOST_FIREWALL),
        TCP_NODE,
        "",
    ),
    "nvlink": (fabric(FabricKind.NVLINK, ports=(), enforced_by=Enforcer.IMEX), Node((ETH,)), ""),
}
