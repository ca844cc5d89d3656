"""The table of what the doctor knows: a code each, its cause, its fix, and what it says of the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.policy.code import ERROR, WARNING, Code
from ringfence.policy.findings import Finding
from ringfence.policy.threats import references

FIREWALL, PROXY, HOP = "firewall", "proxy", "layer-3 hop"
WAYS = (FIREWALL, PROXY, HOP)


@dataclass(frozen=True, slots=True)
class Signature:
    """One thing to recognise; `needs` are the kinds of evidence of which any lets it judge."""

    level: str
    cause: str
    fix: str
    needs: tuple[str, ...]
    way: str = ""  # which of WAYS it proves, where it proves one
    threat: str = ""  # of THREATS, where it is a sign of one


# A code is RF60 and the number of the signature; it is never reused for another cause.
SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {
        "RF6001": Signature(
            ERROR,
            "NCCL fell back to sockets although RDMA ports are active, or found no device",
            "Look at NCCL_IB_DISABLE, NCCL_NET and NCCL_IB_HCA, at the device in the container and at ulimit -l, and "
            "pin NCCL_NET so that a fall-back is an error",
            ("logs",),
            threat="FAB-04",
        ),
        "RF6002": Signature(
            ERROR,
            "a collective or its bootstrap uses an interface that is neither the fabric's nor the control plane's",
            "Set NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME to the interface's exact name: =fab0, as NCCL takes prefixes",
            ("interfaces in logs",),
            threat="FAB-04",
        ),
        "RF6003": Signature(
            WARNING,
            "no channel between nodes uses GPUDirect RDMA",
            "Load nvidia_peermem or use dma-buf, turn PCI ACS off, and look at NCCL_NET_GDR_LEVEL",
            ("logs",),
        ),
        "RF6004": Signature(
            ERROR,
            "the bytes of RDMA stand still while those of sockets grow: the bypass is not used",
            "Look at what NCCL_NET chose, and run `ringfence fabric leak-test` around the job",
            ("nics",),
            threat="FAB-04",
        ),
        "RF6005": Signature(
            ERROR,
            "a peer on the fabric is reached through a gateway",
            "Give every node an address in the fabric's own network and a table per NIC; route the fabric nowhere",
            ("routes", "neighbours", "probes"),
            HOP,
            threat="FAB-04",
        ),
        "RF6006": Signature(
            ERROR,
            "RoCE GIDs of two peers are in different networks, and NCCL does not choose devices by network",
            "Set NCCL_IB_ADDR_RANGE to the fabric's CIDR, or NCCL_IB_SUBNET_AWARE_ROUTING=1 where it has several",
            ("gids in logs",),
            HOP,
            threat="FAB-04",
        ),
        "RF6007": Signature(
            ERROR,
            "packets on the fabric are smaller than its MTU allows: a tunnel or overlay is in the path",
            "Take vxlan, WireGuard or IPsec out of the fabric's path, and set one MTU on every NIC and switch port",
            ("packet sizes", "probes"),
            HOP,
            threat="FAB-04",
        ),
        "RF6008": Signature(
            ERROR,
            "packets leave and nothing answers: a firewall, an ACL or a partition key drops them",
            "Permit UDP 4791 (RoCE) or the group's own traffic (EFA) between members on every hop, and compare pkeys",
            ("ports", "logs"),
            FIREWALL,
            threat="FAB-04",
        ),
        "RF6009": Signature(
            WARNING,
            "packets arrive out of order or not at all, and no priority pauses: a hop is lossy",
            "Trust DSCP and turn PFC on for the class of NCCL_IB_TC or UCX_IB_TRAFFIC_CLASS on every hop",
            ("ports",),
        ),
        "RF6010": Signature(
            ERROR,
            "the invariant checksum of packets is wrong: something on the way rewrites them",
            "Take NAT and middleboxes out of the fabric's path: RDMA bears none",
            ("ports",),
            FIREWALL,
            threat="FAB-04",
        ),
        "RF6011": Signature(
            ERROR,
            "a proxy takes the fabric's connections",
            'Put `oifname "fab0" return` and `iifname "fab0" return` before the capture: excludeInterfaces in Istio',
            ("nft", "sockets", "flows"),
            PROXY,
            threat="FAB-04",
        ),
        "RF6012": Signature(
            WARNING,
            "several NICs in one network without the kernel told which of them answers and sends",
            "Set arp_ignore=1, arp_announce=2 and rp_filter=2 on each, and give each a table with a rule by source",
            ("sysctls",),
        ),
        "RF6013": Signature(
            WARNING,
            "the fabric is slow, loses segments or has lost ranks",
            "Read the other findings first; then compare nodes two by two with nccl-tests",
            ("tests", "ras", "nstat", "sockets", "probes"),
        ),
        "RF6014": Signature(
            ERROR,
            "a rendezvous port listens on the fabric, where whoever reaches it is not asked who it is",
            "Take it in through the proxy with mutual TLS, and drop all but the collective on the fabric's interface",
            ("sockets", "probes"),
            threat="FAB-01",
        ),
        "RF6015": Signature(
            WARNING,
            "network namespaces share the RDMA devices of a node that has several tenants",
            "Run `rdma system set netns exclusive` at boot, and give each tenant a device of its own",
            ("rdma-system",),
            threat="FAB-02",
        ),
        "RF6016": Signature(
            ERROR,
            "a security group does not let its own members' traffic out: EFA hangs at the first collective",
            "Add an egress and an ingress rule for all protocols whose source is the group itself",
            ("groups",),
            FIREWALL,
            threat="FAB-04",
        ),
        "RF6017": Signature(
            WARNING,
            "somebody of another job, or of none, knocked at a socket of NCCL",
            "Find out who has that address; give each job its own NCCL_SOCKET_MAGIC and let in its members alone",
            ("logs",),
            threat="FAB-01",
        ),
        "RF6018": Signature(
            WARNING,
            "a port is a full member of the default partition, in which it reaches every other full member",
            "Have the subnet manager make every port but its own a limited member there, and give the fabric a "
            "partition of its own: `ringfence fabric emit opensm` prints it",
            ("ports",),
            threat="FAB-03",
        ),
        "RF6019": Signature(
            ERROR,
            "others than root may open a device of the subnet manager (issm, umad), by which they may run the fabric",
            "Have udev make issm* and umad* 0600, and mount them into no container",
            ("device files",),
            threat="FAB-03",
        ),
    }
)
CODES: Mapping[str, Code] = MappingProxyType(
    {code: Code(known.level, known.cause, known.fix, known.threat) for code, known in SIGNATURES.items()}
)


def found(code: str, path: str, line: int, message: str, interface: str = "fab0") -> Finding:
    """A finding of *code* by the evidence at *path* and *line*: a file's, or a counter's own file in sysfs.

    *interface* is the one that the fix is for, where the code's own fix has `fab0`.
    """
    known = SIGNATURES[code]
    fix = known.fix.replace("fab0", interface)
    return Finding(code, known.level, path, line, 1, message, fix, references(known.threat))


Findings = Iterator[Finding]
