"""The table of what is looked for in manifests: a code each, its cause, its fix, and its threat."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ringfence.policy.code import ERROR, WARNING, Code
from ringfence.policy.findings import Finding
from ringfence.policy.model import Origin
from ringfence.policy.threats import references

# A code is never reused for another cause.
CODES: Mapping[str, Code] = MappingProxyType(
    {
        "RF6101": Code(
            ERROR,
            "a pod has the devices of the subnet manager (issm, umad), by which it may run the fabric",
            "Mount no host path: a device plugin or a claim hands out the one uverbs device that the pod needs",
            threat="FAB-03",
        ),
        "RF6102": Code(
            ERROR,
            "a privileged container uses RDMA, and so every device of the node",
            "Take privileged away: RDMA needs the device and IPC_LOCK",
            threat="FAB-03",
        ),
        "RF6103": Code(
            ERROR,
            "a pod that uses RDMA is in the node's own network, where no network policy and no sidecar is",
            "Take hostNetwork away, and give the pod its interface: `ringfence fabric emit nad` or `dra`",
            threat="FAB-03",
        ),
        "RF6104": Code(
            ERROR,
            "every port is a full member of the default partition, and reaches every other",
            "Write Default=0x7fff : ALL=limited, SELF=full ; and give each fabric a partition of its own",
            threat="FAB-03",
        ),
        "RF6105": Code(
            WARNING,
            "ib-kubernetes does not verify UFM, and gives its password and the pods' GUIDs to whoever answers",
            "Put UFM's certificate into the secret as UFM_CERTIFICATE",
            threat="FAB-03",
        ),
        "RF6106": Code(
            ERROR,
            "traffic of a pod leaves its proxy, and no grant in force lets that workload use a fabric",
            "Remove the annotation, or write a FabricGrant for the workload",
            threat="FAB-05",
        ),
        "RF6107": Code(
            ERROR,
            "more traffic of a pod leaves its proxy than what its grants are for",
            "Leave out the fabric's interface or networks, and nothing else",
            threat="FAB-05",
        ),
        "RF6108": Code(
            WARNING,
            "networks of two namespaces are in one partition of one wire",
            "Give each namespace a VLAN or pkey of its own",
            threat="FAB-02",
        ),
        "RF6109": Code(
            WARNING,
            "pods of a node share its RDMA devices, whatever namespace they are in",
            "Set rdmaMode: exclusive, and chain the rdma plugin, or rdmaIsolation: true of ib-sriov",
            threat="FAB-02",
        ),
        "RF6110": Code(
            ERROR,
            "a sidecar takes the traffic of a pod's second interface too",
            "Add traffic.sidecar.istio.io/excludeInterfaces with its name, and a FabricGrant for the workload",
            threat="FAB-04",
        ),
        "RF6111": Code(
            ERROR,
            "a port at which a job is joined, or its code is run, is open to others than the cluster's pods",
            "Keep it in the cluster, behind the proxies: ClusterIP, no hostPort",
            threat="FAB-01",
        ),
    }
)


def noted(code: str, origin: Origin, message: str) -> Finding:
    """A finding of *code* at a place of a manifest."""
    known = CODES[code]
    place = (origin.path, origin.line, origin.column)
    return Finding(code, known.level, *place, message, known.fix, references(known.threat))
