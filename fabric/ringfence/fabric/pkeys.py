"""Partition keys: intent names a value, and NCCL wants the place that it has in a port's table.

NCCL_IB_PKEY (nccl, `connect.cc`: `pkeyIndex`) and NVSHMEM_IB_PKEY_INDEX are indexes, UCX_IB_PKEY is a value. The same
number for both puts one of them into a partition of somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import RdmaPort

FULL_MEMBER = 0x8000  # the top bit of an entry: members without it cannot talk to each other (IBTA, opensm)
_VALUE = 0x7FFF


def index_of(value: int, ports: Sequence[RdmaPort]) -> int:
    """The one place (from 0) of the partition *value* in the tables of all *ports*.

    Raises NOT_FOUND where a port is no full member of the partition, and CONFLICT where the places differ: NCCL takes
    one index for all its devices.
    """
    found = {str(port): _index(value & _VALUE, port) for port in ports}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{index} on {port}" for port, index in found.items())
        raise RingfenceError(
            Kind.CONFLICT,
            f"partition {value:#06x} has index {told}, and NCCL_IB_PKEY is one index for all of them",
            hint="Have the subnet manager give it the same place on each port, or narrow the fabric's interfaces",
        )
    return next(iter(found.values()))


def _index(value: int, port: RdmaPort) -> int:
    if value | FULL_MEMBER in port.pkeys:
        return port.pkeys.index(value | FULL_MEMBER)
    if value in port.pkeys:
        raise RingfenceError(
            Kind.NOT_FOUND,
            f"{port} is a limited member of partition {value:#06x}, and limited members cannot talk to each other",
            hint="Make the port a full member in the subnet manager's partitions",
        )
    held = ", ".join(f"{key & _VALUE:#06x}" for key in port.pkeys if key) or "none"
    raise RingfenceError(
        Kind.NOT_FOUND,
        f"{port} is not in partition {value:#06x}; it is in {held}",
        hint="Add the port's GUID to the partition in the subnet manager, or correct the fabric's pkey",
    )
