"""What a process was started with, held against what its fabric asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ringfence.fabric.environment import Environment


class Wrong(Enum):
    """What is the matter with a variable."""

    MISSING = "missing"
    DIFFERS = "differs"
    OVERRIDES = "overrides"  # set though it should not be, and stronger than what should


@dataclass(frozen=True, slots=True)
class Deviation:
    """One variable of one process; `leaves` says whether traffic can leave the fabric by it."""

    pid: int
    variable: str
    wrong: Wrong
    wanted: str  # empty: not to be set
    found: str  # empty: not set
    leaves: bool
    overrides: str = ""  # the variable that is of no effect by this one

    def __str__(self) -> str:
        found = f"is {self.found!r}" if self.found else "is not set"
        wanted = f"wanted {self.wanted!r}" if self.wanted else f"which overrides {self.overrides}"
        end = "; traffic can leave the fabric" if self.leaves else ""
        return f"process {self.pid}: {self.variable} {found}, {wanted}{end}"


# These choose nothing of where traffic goes: they bound or tell apart what stays.
_HARMLESS = frozenset(
    {
        "NCCL_SOCKET_MAGIC",
        "UCX_TCP_PORT_RANGE",
        "FI_EFA_USE_DEVICE_RDMA",
        "FI_TCP_PORT_LOW_RANGE",
        "FI_TCP_PORT_HIGH_RANGE",
        "OMPI_MCA_btl_tcp_port_min_v4",
        "OMPI_MCA_btl_tcp_port_min_v6",
        "OMPI_MCA_btl_tcp_port_range_v4",
        "OMPI_MCA_btl_tcp_port_range_v6",
    }
)
# Set beside ours, each of these wins over the one that it is put to, by the manuals of their library.
_STRONGER = {
    "NCCL_COMM_ID": "NCCL_SOCKET_IFNAME",  # the interface in its own network, and a magic that everybody has
    "NCCL_IB_GID_INDEX": "NCCL_IB_ADDR_RANGE",
    "NCCL_OOB_NET_ENABLE": "NCCL_SOCKET_IFNAME",  # bootstraps by the network's plugin
    "NVSHMEM_IB_GID_INDEX": "NVSHMEM_IB_ADDR_RANGE",
    "OMPI_MCA_btl_tcp_if_exclude": "OMPI_MCA_btl_tcp_if_include",  # Open MPI takes one of the two and ends with both
    "UCX_IB_GID_INDEX": "NCCL_IB_ADDR_RANGE",  # of a RoCE port, UCX too may take a GID of another network
}


def settled(found: Mapping[str, str], wanted: Environment) -> dict[str, str]:
    """*found* as *wanted*: with its variables, and without what would override one of them."""
    kept = {name: value for name, value in found.items() if _STRONGER.get(name) not in wanted.variables}
    return kept | dict(wanted.variables)


def deviations(pid: int, found: Mapping[str, str], wanted: Environment) -> Iterator[Deviation]:
    """What of process *pid*, started with *found*, is not as *wanted*, in the order of the names."""
    for name, value in sorted(wanted.variables.items()):
        held = found.get(name, "")
        if held != value:
            wrong = Wrong.DIFFERS if held else Wrong.MISSING
            yield Deviation(pid, name, wrong, value, held, leaves=name not in _HARMLESS)
    for name, weaker in sorted(_STRONGER.items()):
        if found.get(name) and weaker in wanted.variables:
            yield Deviation(pid, name, Wrong.OVERRIDES, "", found[name], leaves=True, overrides=weaker)
