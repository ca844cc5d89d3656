"""All that the doctor looks at: what was declared of a fabric, and what was read of logs, counters and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.fabric.doctor.bounded import MAX_ROWS, Network, address, network
from ringfence.fabric.doctor.conntrack import Flows
from ringfence.fabric.doctor.ethtool import Nic
from ringfence.fabric.doctor.nccl_log import NcclLog
from ringfence.fabric.doctor.nccl_tests import NcclTests
from ringfence.fabric.doctor.nft import Capture
from ringfence.fabric.doctor.nstat import Nstat
from ringfence.fabric.doctor.probe import Probe
from ringfence.fabric.doctor.ras import Ras
from ringfence.fabric.doctor.rdma_devices import DeviceFile
from ringfence.fabric.doctor.routes import Interface, Neighbour, Route
from ringfence.fabric.doctor.security_groups import Group
from ringfence.fabric.doctor.ss import Sockets
from ringfence.fabric.doctor.sysfs import Port

_LARGEST = 65535  # bytes of an IP packet, whatever loopback calls its MTU
# 29500 and 29400 PyTorch, 28028 RAS, 6379 and 8265 Ray, 14579 and 5600 vLLM, 2379 etcd.
RENDEZVOUS_PORTS = frozenset({29500, 29400, 28028, 6379, 8265, 14579, 5600, 2379})


@dataclass(frozen=True, slots=True)
class Declared:
    """What the fabric is said to be; an empty field leaves what depends on it unjudged."""

    interfaces: tuple[str, ...] = ()
    control: tuple[str, ...] = ()  # interfaces for rendezvous and bootstrap, beside those of the fabric
    networks: tuple[Network, ...] = ()
    mtu: int = 0  # bytes
    rendezvous_ports: frozenset[int] = RENDEZVOUS_PORTS
    tenants: int = 0  # on this node; 0 for unknown


@dataclass(frozen=True, slots=True)
class Grown:
    """A counter's growth between two samples, or since boot where there is only one, and where it stands."""

    name: str
    by: int
    path: str
    line: int
    since: str  # "the first sample" or "boot"

    def __str__(self) -> str:
        return f"{self.name} grew by {self.by} since {self.since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was read, kind by kind; an empty kind was not looked at, unless `seen` names it."""

    declared: Declared = field(default_factory=Declared)
    seen: frozenset[str] = frozenset()  # kinds that were looked at, whether anything was in there or not
    logs: tuple[NcclLog, ...] = ()
    tests: tuple[NcclTests, ...] = ()
    ras: tuple[Ras, ...] = ()
    ports: tuple[Port, ...] = ()
    ports_before: tuple[Port, ...] = ()
    nics: tuple[Nic, ...] = ()
    nics_before: tuple[Nic, ...] = ()
    nstat: tuple[Nstat, ...] = ()
    nstat_before: tuple[Nstat, ...] = ()
    sockets: tuple[Sockets, ...] = ()
    flows: tuple[Flows, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    captures: tuple[tuple[str, str, Capture], ...] = ()  # path, interface, rule
    sysctls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # path to text
    shared_namespaces: bool | None = None
    groups: tuple[Group, ...] = ()
    probes: tuple[Probe, ...] = ()
    device_files: tuple[DeviceFile, ...] = ()

    def on_fabric(self, host: str) -> bool:
        """Whether *host* is an address of a network that was declared, or that a fabric interface has."""
        found = address(host)
        return found is not None and any(found.version == one.version and found in one for one in self.networks())

    def networks(self) -> tuple[Network, ...]:
        """The declared networks, and else those of the declared interfaces' own addresses."""
        if self.declared.networks:
            return self.declared.networks
        own = (text for one in self.interfaces if one.name in self.declared.interfaces for text in one.addresses)
        return tuple(found for text in own if (found := network(text)) is not None and not found.is_link_local)

    def mtu(self) -> int:
        """What was declared, else the smallest of the fabric interfaces; 0 where neither is known."""
        known = [one.mtu for one in self.interfaces if one.name in self.declared.interfaces and one.mtu]
        return min(self.declared.mtu or min(known, default=0), _LARGEST)

    def port_counters(self, name: str) -> Iterator[tuple[Port, Grown]]:
        """The growth of one counter of every port that has it; what a reset made smaller has not grown."""
        before = {port.name: port for port in self.ports_before}
        for port in self.ports:
            if name in port.counters:
                first = before[port.name].counters.get(name, 0) if port.name in before else 0
                by = port.counters[name] - first
                since = "the first sample" if port.name in before else "boot"
                yield port, Grown(f"{port.name} {name}", by, port.paths[name], 1, since)

    def cut(self) -> tuple[str, ...]:
        """The texts of which more than MAX_ROWS rows were left out: silence about these means less."""
        held = [(one.path, len(one.found)) for one in self.sockets] + [(one.path, len(one.found)) for one in self.flows]
        return tuple(path for path, rows in held if rows >= MAX_ROWS)

    def first_nic(self, interface: str) -> Nic | None:
        """The first sample of an interface's statistics, where there are two."""
        return next((nic for nic in self.nics_before if nic.interface == interface), None)
