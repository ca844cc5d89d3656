"""What a node says of its network and RDMA devices, as the edge read it from /sys; this room reads nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeInterface:
    """A network interface, with the PCI address of its device where it has one (`0000:5e:00.0`)."""

    name: str
    pci: str = ""


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """A port of an RDMA device: what /sys/class/infiniband/DEVICE/ports/NUMBER tells of it, or /sys/class/cxi."""

    device: str  # mlx5_0
    number: int  # from 1
    link_layer: str  # InfiniBand, Ethernet (RoCE), Unspecified (EFA), or Slingshot
    pkeys: tuple[int, ...] = ()  # the partition key table by index; 0 where an entry is empty
    interfaces: tuple[str, ...] = ()  # the network interfaces of the device
    pci: str = ""

    def __str__(self) -> str:
        return f"{self.device}:{self.number}"


@dataclass(frozen=True, slots=True)
class Node:
    """The interfaces and RDMA ports of one node, each in the order of their names."""

    interfaces: tuple[NodeInterface, ...] = ()
    rdma: tuple[RdmaPort, ...] = ()
