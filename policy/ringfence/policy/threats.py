"""The threats that checks look for, each with what MITRE and OWASP call it, and what keeps it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Threat:
    """One threat; the references are ids of MITRE ATLAS 5.6, of MITRE ATT&CK, and of OWASP's ML Top 10 of 2023."""

    id: str
    what: str
    control: str
    atlas: tuple[str, ...]
    attack: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """Its own id first, then everybody else's."""
        return self.id, *self.atlas, *self.attack, *self.owasp


# Ids are never reused for another threat.
THREATS: Mapping[str, Threat] = MappingProxyType(
    {
        one.id: one
        for one in (
            Threat(
                "FAB-01",
                "a rendezvous, RPC or object-collective port is reached from outside its job, or on the fabric: what "
                "is read there is unpickled, and runs",
                "rendezvous through the proxies by mutual TLS, and a member set for each job on the fabric",
                ("AML.T0049", "AML.T0072", "AML.T0011.000"),
                ("T1210", "T1046"),
                ("ML06", "ML10"),
            ),
            Threat(
                "FAB-02",
                "two tenants are in one partition of a fabric, or share its devices: gradients are read and poisoned",
                "a partition for each tenant or job, and devices in a network namespace of their own",
                ("AML.T0020", "AML.T0018.000", "AML.T0024"),
                ("T1557",),
                ("ML10", "ML02"),
            ),
            Threat(
                "FAB-03",
                "a pod or a port has the means to take a fabric over: the default partition, the subnet manager's "
                "devices, privileges, the node's own network",
                "limited members of the default partition, and pods that have the device they need and nothing else",
                ("AML.T0105", "AML.T0012"),
            ),
            Threat(
                "FAB-04",
                "collectives go through a proxy, a firewall or a layer-3 hop: jobs are slow, hang and fail",
                "`ringfence fabric doctor`",
                ("AML.T0029",),
            ),
            Threat(
                "FAB-05",
                "traffic leaves the proxies by an annotation that nobody granted",
                "a FabricGrant: leave for an identity, a fabric and a time, with an owner and a reason",
                ("AML.TA0007",),
            ),
        )
    }
)


def references(threat: str) -> tuple[str, ...]:
    """Those of the threat of that id; none where a finding is of no threat."""
    return THREATS[threat].references if threat else ()
