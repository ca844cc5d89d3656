"""The fields of the Kubernetes kinds that are emitted, written by hand from their CRDs and API types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML

Check = Callable[[Any], None]
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def objects(text: str) -> list[dict[str, Any]]:
    """The documents of a stream, as YAML 1.1 reads them, which Kubernetes does."""
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    return list(reader.load_all(text))


def checked(body: dict[str, Any]) -> None:
    """Raises AssertionError for a field that the kind has not, one that it wants, or one of another type."""
    api, fields = KINDS[body["kind"]]
    assert body["apiVersion"] in api
    metadata = body["metadata"]
    assert set(metadata) <= {"name", "namespace", "annotations"}
    assert _NAME.fullmatch(metadata["name"])
    fits(fields)(body["spec"])


def fits(fields: dict[str, Any]) -> Check:
    """An object with exactly these fields, of which those with a `?` behind their names may be left out."""

    def check(value: Any) -> None:
        assert isinstance(value, dict), value
        wanted = {name.rstrip("?"): inner for name, inner in fields.items()}
        assert set(value) <= set(wanted), set(value) - set(wanted)
        assert {name for name in fields if not name.endswith("?")} <= set(value), fields
        for name, inner in value.items():
            _one(wanted[name], inner)

    return check


def _one(wanted: Any, value: Any) -> None:
    if isinstance(wanted, list):
        assert isinstance(value, list), value
        for inner in value:
            _one(wanted[0], inner)
    elif isinstance(wanted, dict):
        fits(wanted)(value)
    elif isinstance(wanted, tuple):
        assert value in wanted, value
    elif isinstance(wanted, type):
        assert type(value) is wanted, value
    else:
        wanted(value)


def as_json(fields: dict[str, Any]) -> Check:
    """Such an object, written as JSON into a string."""
    return lambda value: fits(fields)(json.loads(value))


def _config(value: str) -> None:
    config = json.loads(value)
    for plugin in config.get("plugins", [{k: v for k, v in config.items() if k not in {"cniVersion", "name"}}]):
        fits(PLUGINS[plugin["type"]])(plugin)
    assert config["cniVersion"] == "0.3.1"


IPAM = {"type": str, "range?": str, "poolName?": str}
PLUGINS: dict[str, dict[str, Any]] = {
    "macvlan": {"type": str, "master": str, "mode": ("bridge",), "mtu?": int, "ipam": IPAM},
    "sriov": {"type": str, "vlan": int, "spoofchk": ("on",), "trust": ("off",), "ipam": IPAM},
    "rdma": {"type": str},
    "ib-sriov": {"type": str, "pkey": str, "link_state": ("enable",), "rdmaIsolation": bool, "ipam": IPAM},
}
EXPRESSIONS = [{"key": str, "operator": ("In",), "values": [str]}]
PODS = {"matchExpressions?": EXPRESSIONS}
PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": str}}, "podSelector": PODS}]
PORTS = [{"protocol": ("TCP",), "port": int, "endPort?": int}]
DEVICES = {
    "requests": [
        {"name": str, "exactly": {"deviceClassName": str, "allocationMode": ("ExactCount",), "count": int}},
    ],
    "config?": [
        {"requests": [str], "opaque": {"driver": ("dra.net",), "parameters": {"interface": {"mtu": int}}}},
    ],
}
SRIOV = {"networkNamespace": str, "resourceName": str, "linkState": ("auto",), "ipam": as_json(IPAM)}
KINDS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "SriovNetwork": (
        ("sriovnetwork.openshift.io/v1",),
        {**SRIOV, "vlan": int, "spoofChk": ("on",), "trust": ("off",), "metaPlugins?": as_json({"type": ("rdma",)})},
    ),
    "SriovIBNetwork": (
        ("sriovnetwork.openshift.io/v1",),
        {**SRIOV, "capabilities": as_json({"infinibandGUID": bool})},
    ),
    "NetworkAttachmentDefinition": (("k8s.cni.cncf.io/v1",), {"config": _config}),
    "MultiNetworkPolicy": (
        ("k8s.cni.cncf.io/v1beta1", "k8s.cni.cncf.io/v1beta2"),
        {
            "policyTypes": [str],
            "podSelector": PODS,
            "ingress?": [{"from": PEERS, "ports": PORTS}],
            "egress?": [{"to": PEERS, "ports": PORTS}],
        },
    ),
    "DeviceClass": (("resource.k8s.io/v1",), {"selectors": [{"cel": {"expression": str}}]}),
    "ResourceClaimTemplate": (("resource.k8s.io/v1",), {"spec": {"devices": DEVICES}}),
    "GKENetworkParamSet": (
        ("networking.gke.io/v1",),
        {"vpc": str, "vpcSubnet": str, "deviceMode": ("RDMA", "NetDevice")},
    ),
    "Network": (
        ("networking.gke.io/v1",),
        {"type": ("Device",), "parametersRef": {"group": str, "kind": ("GKENetworkParamSet",), "name": str}},
    ),
}
