"""Statistics of a network interface as `ethtool -S` prints them, and what mlx5 counts beside RDMA.

Source: Linux, Documentation/networking/device_drivers/ethernet/mellanox/mlx5/counters.rst: the vport's unicast bytes
leave those of RDMA out, so that the two beside each other show which way a job's bytes went.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import MAX_FACTS, lines

_COUNTER = re.compile(r"\s*([\w\[\].-]{1,128}):\s*([0-9]{1,20})\s*")
_PAUSE = re.compile(r"[rt]x_prio\d_pause")


@dataclass(frozen=True, slots=True)
class Nic:
    """The statistics of *interface*, read from *path*, with the line of each."""

    interface: str
    path: str
    counters: Mapping[str, int]
    lines: Mapping[str, int]

    def total(self, *names: str) -> int | None:
        """The sum of those of *names* that the driver has; None where it has none of them."""
        known = [self.counters[name] for name in names if name in self.counters]
        return sum(known) if known else None

    @property
    def rdma_bytes(self) -> int | None:
        """Bytes of RDMA, both ways."""
        return self.total("rx_vport_rdma_unicast_bytes", "tx_vport_rdma_unicast_bytes")

    @property
    def socket_bytes(self) -> int | None:
        """Bytes of everything else, both ways."""
        return self.total("rx_vport_unicast_bytes", "tx_vport_unicast_bytes")

    @property
    def pauses(self) -> int | None:
        """Frames of priority flow control, both ways; None where no priority has it."""
        return self.total(*(name for name in self.counters if _PAUSE.fullmatch(name)))


def nic(text: str, interface: str, path: str) -> Nic:
    """What *text* from *path* says of *interface*."""
    counters: dict[str, int] = {}
    places: dict[str, int] = {}
    for number, line in lines(text):
        found = _COUNTER.fullmatch(line)
        if found and len(counters) < MAX_FACTS:
            counters[found.group(1)] = int(found.group(2))
            places[found.group(1)] = number
    return Nic(interface, path, MappingProxyType(counters), MappingProxyType(places))
