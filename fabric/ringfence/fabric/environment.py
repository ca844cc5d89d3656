"""The environment compiler: one fabric on one node as the variables of every library, and what no variable can say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.node import Node
from ringfence.fabric.resolve import Resolved, resolve
from ringfence.fabric.stacks import VERBS, gloo, libfabric, nccl, nvshmem, openmpi, ucx
from ringfence.policy.fabrics import Fabric, FabricKind, PartitionKind

_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
_VALUE = re.compile(r"[\x20-\x7e]+")  # no form of ours has to carry a line's end
LONGEST = 1023  # bytes of a value in nccl.conf (`setEnvFile`); what is more is cut off


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables by name, in the order of the libraries, and notes: what an operator has to see to beside them.

    Raises INVALID for a name or a value that a form could not carry.
    """

    fabric: str  # its key
    variables: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.variables.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or len(value) > LONGEST:
                raise RingfenceError(
                    Kind.INVALID,
                    f"{name}={value!r} is no variable of printable ASCII of at most {LONGEST} characters",
                    hint="Name fewer or plainer interfaces in the fabric",
                )


def compile_environment(fabric: Fabric, node: Node, *, magic: str = "", bootstrap: str = "") -> Environment:
    """What a job on *fabric* is told on *node*: same arguments, same bytes.

    *magic* is the job's NCCL_SOCKET_MAGIC. *bootstrap* is an interface off the fabric for the sockets by which ranks
    find each other. Raises as `resolve` does.
    """
    on = resolve(fabric, node, bootstrap)
    made = dict([*nccl(on, magic), *gloo(on), *ucx(on), *libfabric(on), *openmpi(on), *nvshmem(on)])
    return Environment(fabric.key, MappingProxyType(made), tuple(_notes(fabric, on, magic)))


def _notes(fabric: Fabric, on: Resolved, magic: str) -> Iterator[str]:
    yield f"what keeps strangers off fabric {fabric.key}: {fabric.enforced_by.value}; these variables do not"
    if on.span and on.on_fabric:
        yield (
            f"NCCL and Gloo have no variable for ports: in the job's network namespace, set the sysctl "
            f"net.ipv4.ip_local_port_range to '{on.span.first} {on.span.last}'"
        )
    if not magic and on.sockets:
        yield "NCCL_SOCKET_MAGIC is not set: ranks of another job are not told apart by NCCL's sockets"
    if not on.on_fabric and on.sockets:
        yield f"Gloo and TensorPipe know TCP only, and leave the fabric by {', '.join(on.sockets)}"
    if on.kind is FabricKind.NVLINK:
        yield "NCCL between domains of NVLink takes a network: set NCCL_NET and the rest from that fabric as well"
    if on.kind in VERBS and len(on.devices) > 1:
        yield "libfabric takes one device of verbs (FI_VERBS_DEVICE_NAME): set it for each rank"
    if fabric.partition is not None and fabric.partition.kind is not PartitionKind.PKEY:
        yield f"{fabric.partition} is no variable's matter: it is set where the interface is made"
