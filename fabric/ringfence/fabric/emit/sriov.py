"""SriovNetwork and SriovIBNetwork (sriovnetwork.openshift.io/v1): what the SR-IOV operator makes attachments of."""

from __future__ import annotations

import json
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.objects import Item, attachment, ipam, rendered
from ringfence.policy.fabrics import Enforcer, FabricKind, PartitionKind

_GUIDS = {"infinibandGUID": True}


def networks(asked: Asked) -> str:
    """One for each tenant, so that the attachment is in the tenant's namespace and in no other."""
    asked.only(
        FabricKind.ROCE, FabricKind.TCP, FabricKind.INFINIBAND, why="the operator has virtual functions of such cards"
    )
    spec = {"resourceName": _resource(asked), **_kind_fields(asked)}
    items = [_network(asked, tenant, spec) for tenant in asked.tenants()]
    return rendered(items)


def _network(asked: Asked, tenant: str, spec: dict[str, Any]) -> Item:
    infiniband = asked.fabric.kind is FabricKind.INFINIBAND
    body = {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovIBNetwork" if infiniband else "SriovNetwork",
        "metadata": {
            "name": attachment(asked, tenant),
            "namespace": asked.needs("--operator-namespace", asked.facts.operator),
        },
        "spec": {"networkNamespace": tenant, **spec},
    }
    return Item(asked.comment(), body)


def _resource(asked: Asked) -> str:
    """The operator puts the prefix in front itself."""
    return asked.needs("--resource-name", asked.facts.resource).rpartition("/")[2]


def _kind_fields(asked: Asked) -> dict[str, Any]:
    made: dict[str, Any] = {"linkState": "auto", "ipam": json.dumps(ipam(asked))}
    if asked.fabric.kind is FabricKind.INFINIBAND:
        return made | {"capabilities": json.dumps(_GUIDS)}
    partition = asked.fabric.partition
    if partition is None or partition.kind is not PartitionKind.VLAN:
        hint = "Write the partition's vlan, or use the target nad with --master"
        raise asked.refused("has no VLAN, and a virtual function without one is on the wire as everybody is", hint)
    made |= {"vlan": partition.number, "spoofChk": "on", "trust": "off"}
    if asked.fabric.enforced_by is Enforcer.RDMA_NETNS:
        made["metaPlugins"] = json.dumps({"type": "rdma"})
    return made
