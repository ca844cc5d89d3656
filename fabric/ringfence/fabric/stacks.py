"""What each library reads to stay on a fabric, a function a library.

Each variable is named exactly once, by its own library's rules: NCCL and NVSHMEM compare interfaces by prefix unless
the list begins with `=`; UCX, Gloo and TensorPipe take whole names; Open MPI takes names or networks.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.fabric.resolve import Resolved
from ringfence.policy.fabrics import FabricKind

VERBS = frozenset({FabricKind.INFINIBAND, FabricKind.ROCE})
# NCCL_NET by kind. The plugin for libfabric is called "Libfabric" since 1.12, and answers to its old name ever since.
_NETS = {
    FabricKind.INFINIBAND: "IB",
    FabricKind.ROCE: "IB",
    FabricKind.EFA: "AWS Libfabric",
    FabricKind.SLINGSHOT: "AWS Libfabric",
    FabricKind.TCP: "Socket",
}
_PROVIDERS = {
    FabricKind.INFINIBAND: "verbs",
    FabricKind.ROCE: "verbs",
    FabricKind.EFA: "efa",
    FabricKind.SLINGSHOT: "cxi",
    FabricKind.TCP: "tcp",
}

Variables = Iterator[tuple[str, str]]


def nccl(on: Resolved, magic: str) -> Variables:
    """NCCL and RCCL (nccl `env.rst`): a network that is named and absent ends the job, where it would fall back."""
    if on.kind is FabricKind.NVLINK:
        yield "NCCL_MNNVL_ENABLE", "1"
    else:
        yield "NCCL_NET", _NETS[on.kind]
    if on.kind in VERBS:
        yield "NCCL_IB_DISABLE", "0"
        yield "NCCL_IB_HCA", f"={','.join(map(str, on.ports))}"
    elif on.kind is not FabricKind.NVLINK:
        yield "NCCL_IB_DISABLE", "1"
    if on.pkey is not None:
        yield "NCCL_IB_PKEY", str(on.pkey_index)
    if on.network:
        yield "NCCL_IB_ADDR_FAMILY", _family_of(on.network)
        yield "NCCL_IB_ADDR_RANGE", on.network
        yield "NCCL_IB_ROCE_VERSION_NUM", "2"
    if on.sockets:
        yield "NCCL_SOCKET_IFNAME", f"={','.join(on.sockets)}"
    if on.family and on.on_fabric:
        yield "NCCL_SOCKET_FAMILY", on.family
    if magic:
        yield "NCCL_SOCKET_MAGIC", magic


def gloo(on: Resolved) -> Variables:
    """PyTorch's Gloo, a list of whole names, and TensorPipe, one: both carry data by TCP and know nothing else."""
    if on.sockets:
        yield "GLOO_SOCKET_IFNAME", ",".join(on.sockets)
        yield "TP_SOCKET_IFNAME", on.sockets[0]


def ucx(on: Resolved) -> Variables:
    """UCX, and what stands on it (NIXL, Open MPI): it uses the devices named and no other, by whatever transport."""
    devices = [str(port) for port in on.ports] if on.kind is not FabricKind.SLINGSHOT else []
    if on.kind is FabricKind.NVLINK:
        yield "UCX_CUDA_IPC_ENABLE_MNNVL", "y"
    elif devices or on.sockets:
        yield "UCX_NET_DEVICES", ",".join(devices or on.sockets)
    if on.pkey is not None:
        yield "UCX_IB_PKEY", f"{on.pkey:#06x}"
    if on.span and on.on_fabric:
        yield "UCX_TCP_PORT_RANGE", f"{on.span.first}-{on.span.last}"


def libfabric(on: Resolved) -> Variables:
    """One provider of libfabric (`fi_verbs`, `fi_efa`, `fi_cxi`, `fi_tcp`), so that no other is tried after it."""
    if on.kind is FabricKind.NVLINK:
        return
    yield "FI_PROVIDER", _PROVIDERS[on.kind]
    devices = ",".join(on.devices)
    match on.kind:
        case FabricKind.EFA:
            yield "FI_EFA_IFACE", devices
            yield "FI_EFA_USE_DEVICE_RDMA", "1"
        case FabricKind.SLINGSHOT:
            yield "FI_CXI_DEVICE_NAME", devices
        case FabricKind.TCP:
            yield "FI_TCP_IFACE", on.sockets[0]
            if on.span:
                yield "FI_TCP_PORT_LOW_RANGE", str(on.span.first)
                yield "FI_TCP_PORT_HIGH_RANGE", str(on.span.last)
        case _:
            if len(on.devices) == 1:
                yield "FI_VERBS_DEVICE_NAME", devices


def openmpi(on: Resolved) -> Variables:
    """Open MPI: one way of sending (`pml`), whose absence is an error; the launcher's own sockets are not data."""
    match on.kind:
        case FabricKind.INFINIBAND | FabricKind.ROCE:
            yield "OMPI_MCA_pml", "ucx"
        case FabricKind.EFA | FabricKind.SLINGSHOT:
            yield "OMPI_MCA_pml", "cm"
            yield "OMPI_MCA_mtl", "ofi"
        case FabricKind.TCP:
            yield "OMPI_MCA_pml", "ob1"
        case FabricKind.NVLINK:
            pass
    if on.sockets:
        yield "OMPI_MCA_btl_tcp_if_include", ",".join(on.sockets)
    if on.span and on.on_fabric:
        version = "6" if on.family == "AF_INET6" else "4"
        yield f"OMPI_MCA_btl_tcp_port_min_v{version}", str(on.span.first)
        yield f"OMPI_MCA_btl_tcp_port_range_v{version}", str(on.span.last - on.span.first + 1)


def nvshmem(on: Resolved) -> Variables:
    """NVSHMEM (`env.html`): its list of HCAs counts only with NIC_PE_MAPPING, and its partition key is an index too."""
    match on.kind:
        case FabricKind.INFINIBAND | FabricKind.ROCE:
            yield "NVSHMEM_REMOTE_TRANSPORT", "ibrc"
            yield "NVSHMEM_ENABLE_NIC_PE_MAPPING", "1"
            yield "NVSHMEM_HCA_LIST", ",".join(map(str, on.ports))
        case FabricKind.EFA | FabricKind.SLINGSHOT:
            yield "NVSHMEM_REMOTE_TRANSPORT", "libfabric"
            yield "NVSHMEM_LIBFABRIC_PROVIDER", _PROVIDERS[on.kind]
        case _:
            yield "NVSHMEM_REMOTE_TRANSPORT", "none"
    if on.pkey is not None:
        yield "NVSHMEM_IB_PKEY_INDEX", str(on.pkey_index)
    if on.network:
        yield "NVSHMEM_IB_ADDR_FAMILY", _family_of(on.network)
        yield "NVSHMEM_IB_ADDR_RANGE", on.network
        yield "NVSHMEM_IB_ROCE_VERSION_NUM", "2"
    if on.sockets:
        yield "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME", f"={','.join(on.sockets)}"
    if on.family and on.on_fabric:
        yield "NVSHMEM_BOOTSTRAP_UID_SOCK_FAMILY", on.family


def _family_of(network: str) -> str:
    return "AF_INET6" if ":" in network else "AF_INET"
