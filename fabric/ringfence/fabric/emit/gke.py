"""Network and GKENetworkParamSet (networking.gke.io/v1): one pair for each card, which has a subnet of its own."""

from __future__ import annotations

from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.objects import Item, rendered
from ringfence.policy.fabrics import FabricKind

_API = "networking.gke.io/v1"
_MODES = {FabricKind.ROCE: "RDMA", FabricKind.TCP: "NetDevice"}


def networks(asked: Asked) -> str:
    """For each subnet, in order, `NAMESPACE-NAME-N` from 0 on; they belong to the cluster and to no tenant."""
    asked.only(*_MODES, why="GKE gives pods such cards as devices")
    vpc = asked.needs("--vpc", asked.facts.vpc)
    asked.needs("--subnet", "".join(asked.facts.subnets))
    return rendered(
        item for place, subnet in enumerate(asked.facts.subnets) for item in _pair(asked, place, vpc, subnet)
    )


def _pair(asked: Asked, place: int, vpc: str, subnet: str) -> tuple[Item, Item]:
    name = f"{asked.name}-{place}"
    parameters = {"vpc": vpc, "vpcSubnet": subnet, "deviceMode": _MODES[asked.fabric.kind]}
    reference = {"group": "networking.gke.io", "kind": "GKENetworkParamSet", "name": name}
    network = {"type": "Device", "parametersRef": reference}
    return _item(asked, "GKENetworkParamSet", name, parameters), _item(asked, "Network", name, network)


def _item(asked: Asked, kind: str, name: str, spec: dict[str, Any]) -> Item:
    body = {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": spec}
    return Item(asked.comment(), body)
