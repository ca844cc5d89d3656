"""From texts, each of a kind that is named, to evidence: the one place that knows which parser reads what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ringfence.fabric.doctor.conntrack import flows
from ringfence.fabric.doctor.ethtool import nic
from ringfence.fabric.doctor.evidence import Declared, Evidence
from ringfence.fabric.doctor.nccl_log import nccl_log
from ringfence.fabric.doctor.nccl_tests import nccl_tests
from ringfence.fabric.doctor.nft import captures
from ringfence.fabric.doctor.nstat import nstat
from ringfence.fabric.doctor.probe import Probe
from ringfence.fabric.doctor.ras import ras
from ringfence.fabric.doctor.rdma_devices import device_files
from ringfence.fabric.doctor.rdma_tool import links, shared_namespaces, statistics
from ringfence.fabric.doctor.routes import interfaces, neighbours, routes
from ringfence.fabric.doctor.security_groups import security_groups
from ringfence.fabric.doctor.ss import sockets
from ringfence.fabric.doctor.sysfs import Port, ports

# Kinds of texts, as the command names them, to the fields of Evidence that hold what is in there.
KINDS = {
    "nccl-log": "logs",
    "nccl-tests": "tests",
    "ras": "ras",
    "ss": "sockets",
    "conntrack": "flows",
    "nstat": "nstat",
    "ethtool": "nics",
    "route": "routes",
    "neigh": "neighbours",
    "addr": "interfaces",
    "nft": "nft",
    "rdma-system": "rdma-system",
    "rdma-devices": "device files",
    "rdma-link": "ports",
    "rdma-statistic": "ports",
    "security-groups": "groups",
}


@dataclass(frozen=True, slots=True)
class Text:
    """One text: its kind of KINDS, the file or command that it came from, the interface that it is about if any."""

    kind: str
    path: str
    text: str
    interface: str = ""
    first: bool = False  # the earlier one of two samples


def gather(
    declared: Declared,
    texts: Iterable[Text],
    files: Mapping[str, str] = MappingProxyType({}),
    files_before: Mapping[str, str] = MappingProxyType({}),
    probes: tuple[Probe, ...] = (),
) -> Evidence:
    """What *texts* and the *files* of sysfs and /proc/sys hold; *files_before* is an earlier sample of them."""
    held = list(texts)
    by_kind: dict[tuple[str, bool], list[Text]] = defaultdict(list)
    for one in held:
        by_kind[one.kind, one.first].append(one)
    found = ports(files)
    sysctls = {path: text for path, text in files.items() if path.startswith("/proc/sys/")}
    seen = {KINDS[one.kind] for one in held} | ({"ports"} if found else set()) | ({"sysctls"} if sysctls else set())
    seen |= {"probes"} if probes else set()
    evidence = Evidence(
        declared=declared,
        seen=frozenset(seen),
        probes=probes,
        ports=found or _ports_of_rdma(by_kind),
        ports_before=ports(files_before),
        sysctls=MappingProxyType(sysctls),
        **_parsed(by_kind),
    )
    return replace(evidence, captures=_captures(evidence, by_kind["nft", False]))


def _parsed(by_kind: Mapping[tuple[str, bool], list[Text]]) -> dict[str, Any]:
    def of(kind: str, *, first: bool = False) -> list[Text]:
        return by_kind.get((kind, first), [])

    modes = [shared_namespaces(one.text) for one in of("rdma-system")]
    return {
        "logs": tuple(nccl_log(one.text, one.path) for one in of("nccl-log")),
        "tests": tuple(nccl_tests(one.text, one.path) for one in of("nccl-tests")),
        "ras": tuple(ras(one.text, one.path) for one in of("ras")),
        "sockets": tuple(sockets(one.text, one.path) for one in of("ss")),
        "flows": tuple(flows(one.text, one.path) for one in of("conntrack")),
        "nstat": tuple(nstat(one.text, one.path) for one in of("nstat")),
        "nstat_before": tuple(nstat(one.text, one.path) for one in of("nstat", first=True)),
        "nics": tuple(nic(one.text, one.interface, one.path) for one in of("ethtool")),
        "nics_before": tuple(nic(one.text, one.interface, one.path) for one in of("ethtool", first=True)),
        "routes": tuple(route for one in of("route") for route in routes(one.text, one.path)),
        "neighbours": tuple(found for one in of("neigh") for found in neighbours(one.text, one.path)),
        "interfaces": tuple(found for one in of("addr") for found in interfaces(one.text)),
        "groups": tuple(group for one in of("security-groups") for group in security_groups(one.text, one.path)),
        "device_files": tuple(found for one in of("rdma-devices") for found in device_files(one.text, one.path)),
        "shared_namespaces": next((mode for mode in modes if mode is not None), None),
    }


def _captures(evidence: Evidence, rulesets: list[Text]) -> tuple[Any, ...]:
    names, networks = evidence.declared.interfaces, evidence.networks()
    return tuple(
        (one.path, name, rule) for one in rulesets for name in names for rule in captures(one.text, name, networks)
    )


def _ports_of_rdma(by_kind: Mapping[tuple[str, bool], list[Text]]) -> tuple[Port, ...]:
    """Ports as the rdma tool shows them, where there is no sysfs to read."""
    states = {(one.device, one.port): one for text in by_kind.get(("rdma-link", False), []) for one in links(text.text)}
    counted = {
        (one.device, one.port): (one.counters, text.path)
        for text in by_kind.get(("rdma-statistic", False), [])
        for one in statistics(text.text)
    }
    return tuple(
        _port_of_rdma(key, states.get(key), *counted.get(key, ({}, ""))) for key in sorted({*states, *counted})
    )


def _port_of_rdma(key: tuple[str, int], link: Any, counters: Mapping[str, int], path: str) -> Port:
    named = (link.interface,) if link is not None and link.interface else ()
    state = link.state if link is not None else ""
    paths = MappingProxyType(dict.fromkeys(counters, path))
    return Port(*key, state, interfaces=named, counters=MappingProxyType(dict(counters)), paths=paths)
