"""NetworkAttachmentDefinition of Multus (k8s.cni.cncf.io/v1): macvlan, a virtual function, or one of InfiniBand."""

from __future__ import annotations

import json
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.guids import partition_key
from ringfence.fabric.emit.objects import Item, attachment, ipam, rendered
from ringfence.policy.fabrics import Enforcer, FabricKind, PartitionKind

_CNI = "0.3.1"


def definitions(asked: Asked) -> str:
    """One in the namespace of each tenant."""
    asked.only(
        FabricKind.ROCE, FabricKind.TCP, FabricKind.INFINIBAND, why="no CNI plug-in that is known attaches a pod to it"
    )
    plugin = _plugin(asked)
    return rendered(_definition(asked, tenant, plugin) for tenant in asked.tenants())


def _definition(asked: Asked, tenant: str, plugin: dict[str, Any]) -> Item:
    name = attachment(asked, tenant)
    metadata: dict[str, Any] = {"name": name, "namespace": tenant}
    if asked.facts.resource:
        metadata["annotations"] = {"k8s.v1.cni.cncf.io/resourceName": asked.facts.resource}
    body = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": metadata,
        "spec": {"config": json.dumps(_config(asked, name, plugin))},
    }
    return Item(asked.comment(), body)


def _config(asked: Asked, name: str, plugin: dict[str, Any]) -> dict[str, Any]:
    own = asked.fabric.enforced_by is Enforcer.RDMA_NETNS
    if own and plugin["type"] == "sriov":
        return {"cniVersion": _CNI, "name": name, "plugins": [plugin, {"type": "rdma"}]}
    return {"cniVersion": _CNI, "name": name, **plugin}


def _plugin(asked: Asked) -> dict[str, Any]:
    if asked.fabric.kind is FabricKind.INFINIBAND:
        asked.needs("--resource-name", asked.facts.resource)
        key = f"{partition_key(asked):#06x}"
        # It moves the device itself: with the plug-in `rdma` behind it that would be done twice.
        isolated = asked.fabric.enforced_by is Enforcer.RDMA_NETNS
        return {"type": "ib-sriov", "pkey": key, "link_state": "enable", "rdmaIsolation": isolated, "ipam": ipam(asked)}
    return _virtual_function(asked) if asked.facts.resource else _macvlan(asked)


def _virtual_function(asked: Asked) -> dict[str, Any]:
    partition = asked.fabric.partition
    if partition is None or partition.kind is not PartitionKind.VLAN:
        hint = "Write the partition's vlan, or leave --resource-name out and say --master"
        raise asked.refused("has no VLAN, and a virtual function without one is on the wire as everybody is", hint)
    return {"type": "sriov", "vlan": partition.number, "spoofchk": "on", "trust": "off", "ipam": ipam(asked)}


def _macvlan(asked: Asked) -> dict[str, Any]:
    """It puts no tag on frames, so that the interface below has to be the one of the fabric's VLAN."""
    if asked.fabric.enforced_by is Enforcer.RDMA_NETNS:
        raise asked.refused("is enforced by rdma-netns, and macvlan moves no device", "Say --resource-name")
    master = asked.needs("--master, or --resource-name for virtual functions", asked.facts.master)
    mtu = {"mtu": asked.fabric.mtu} if asked.fabric.mtu else {}
    return {"type": "macvlan", "master": master, "mode": "bridge", **mtu, "ipam": ipam(asked)}
