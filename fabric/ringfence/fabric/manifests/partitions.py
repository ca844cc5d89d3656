"""Networks of several namespaces on one wire without a partition between them, and RDMA devices that pods share."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ringfence.fabric.manifests.codes import noted
from ringfence.fabric.manifests.pods import Object, text
from ringfence.policy.findings import Finding
from ringfence.policy.model import Origin


@dataclass(frozen=True, slots=True)
class _Network:
    wire: str  # the node's interface or the device plugin's resource
    partition: str
    namespace: str
    who: str
    origin: Origin


def shared_partitions(found: Iterable[Object]) -> Iterator[Finding]:
    """RF6108: for each network of a wire and partition that another namespace has too."""
    by_partition: defaultdict[tuple[str, str], list[_Network]] = defaultdict(list)
    for one in found:
        for network in _networks(one):
            by_partition[network.wire, network.partition].append(network)
    for (wire, partition), networks in sorted(by_partition.items()):
        namespaces = sorted({network.namespace for network in networks})
        for network in networks if len(namespaces) > 1 else ():
            told = f"{network.who} is in {partition} of {wire}, as are networks of {' and '.join(namespaces)}"
            yield noted("RF6108", network.origin, told)


def shared_devices(one: Object) -> Iterator[Finding]:
    """RF6109: the mode of a pool of nodes, and ib-sriov that leaves devices in the node's namespace."""
    mode = (one.node.child("spec") or one.node).child("rdmaMode")
    if one.kind == "SriovNetworkPoolConfig" and mode is not None and text(mode) == "shared":
        yield noted("RF6109", mode.origin, f"{one} has rdmaMode: shared")
    plugins = _plugins(one)
    chained = any(plugin.get("type") == "rdma" for plugin in plugins)
    for plugin in plugins:
        if plugin.get("type") == "ib-sriov" and not chained and plugin.get("rdmaIsolation") is not True:
            yield noted("RF6109", one.node.at("spec", "config"), f"{one} has ib-sriov without rdmaIsolation")


def _networks(one: Object) -> Iterator[_Network]:
    if one.kind == "SriovNetwork":
        spec = one.node.child("spec") or one.node
        namespace = text(spec.child("networkNamespace")) or one.namespace
        vlan = text(spec.child("vlan"))
        partition = f"VLAN {vlan}" if vlan not in {"", "0"} else "no VLAN"
        yield _Network(text(spec.child("resourceName")), partition, namespace, str(one), one.node.at("spec", "vlan"))
    wired = _annotated(one, "k8s.v1.cni.cncf.io/resourceName")
    for plugin in _plugins(one):
        wire = str(plugin.get("master") or wired)
        if wire and plugin.get("type") != "rdma":
            yield _Network(wire, _partition(plugin), one.namespace, str(one), one.node.at("spec", "config"))


def _partition(plugin: dict[str, Any]) -> str:
    """Of the configuration of a CNI plugin; a key is written as text or as a number."""
    key, vlan = plugin.get("pkey"), plugin.get("vlan") or plugin.get("vlanId")
    if isinstance(key, str | int) and not isinstance(key, bool) and key:
        try:
            return f"pkey {int(str(key), 0) & 0x7FFF:#06x}"
        except ValueError:
            return f"pkey {key}"
    return f"VLAN {vlan}" if isinstance(vlan, int) and vlan else "no VLAN"


def _plugins(one: Object) -> list[dict[str, Any]]:
    """The plugins of a NetworkAttachmentDefinition, whose configuration is JSON in a text; none of what is none."""
    if one.kind != "NetworkAttachmentDefinition":
        return []
    try:
        config = json.loads(text((one.node.child("spec") or one.node).child("config")))
    except (ValueError, RecursionError):
        return []
    listed = config.get("plugins", [config]) if isinstance(config, dict) else []
    return [plugin for plugin in listed if isinstance(plugin, dict)] if isinstance(listed, list) else []


def _annotated(one: Object, key: str) -> str:
    metadata = one.node.child("metadata") or one.node
    return text((metadata.child("annotations") or metadata).child(key))
