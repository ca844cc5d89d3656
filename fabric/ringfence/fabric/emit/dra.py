"""DeviceClass and ResourceClaimTemplate (resource.k8s.io/v1) for dranet, or for AWS's driver of EFA."""

from __future__ import annotations

import json
from typing import Any

from ringfence.fabric.emit.asked import Asked
from ringfence.fabric.emit.objects import Item, attachment, rendered
from ringfence.policy.fabrics import FabricKind, Interface, InterfaceForm

_API = "resource.k8s.io/v1"
_DRIVER = "dra.net"
_EFA_CLASS = "efa.networking.k8s.aws"  # AWS's driver brings it
_REQUEST = "fabric"
_OWN = f'device.attributes["{_DRIVER}"]'


def claims(asked: Asked) -> str:
    """The class of the fabric's devices, and in each tenant's namespace a template that asks for some of them."""
    kinds = (FabricKind.ROCE, FabricKind.INFINIBAND, FabricKind.TCP, FabricKind.EFA)
    asked.only(*kinds, why="no driver of dynamic resource allocation that is known has it")
    if asked.facts.count < 1:
        asked.needs("--count", "")
    efa = asked.fabric.kind is FabricKind.EFA
    own = [] if efa else [_class(asked)]
    name = _EFA_CLASS if efa else asked.name
    return rendered([*own, *(_template(asked, tenant, name) for tenant in asked.tenants())])


def _class(asked: Asked) -> Item:
    selectors = [{"cel": {"expression": expression}} for expression in _expressions(asked)]
    body = {
        "apiVersion": _API,
        "kind": "DeviceClass",
        "metadata": {"name": asked.name},
        "spec": {"selectors": selectors},
    }
    return Item(asked.comment(), body)


def _expressions(asked: Asked) -> list[str]:
    """All have to hold. An attribute that a device lacks is an error to CEL, so that each is asked for first."""
    rdma = asked.fabric.kind is not FabricKind.TCP
    found = [f'device.driver == "{_DRIVER}"']
    if rdma:
        found.append(f"has({_OWN}.rdma) && {_OWN}.rdma")
    return [*found, " || ".join(_is(one, name) for one in asked.fabric.interfaces for name in _attributes(one, rdma))]


def _attributes(interface: Interface, rdma: bool) -> tuple[str, ...]:  # noqa: FBT001  # of the one caller
    if interface.form is InterfaceForm.PCI:
        return ("pciAddress",)
    return ("ifName", "rdmaDevice") if rdma else ("ifName",)


def _is(interface: Interface, attribute: str) -> str:
    text = json.dumps(interface.text)
    match = f".startsWith({text})" if interface.form is InterfaceForm.PREFIX else f" == {text}"
    return f"(has({_OWN}.{attribute}) && {_OWN}.{attribute}{match})"


def _template(asked: Asked, tenant: str, class_name: str) -> Item:
    request = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": asked.facts.count}
    devices: dict[str, Any] = {"requests": [{"name": _REQUEST, "exactly": request}]}
    if asked.fabric.mtu and asked.fabric.kind is not FabricKind.EFA:
        opaque = {"driver": _DRIVER, "parameters": {"interface": {"mtu": asked.fabric.mtu}}}
        devices["config"] = [{"requests": [_REQUEST], "opaque": opaque}]
    body = {
        "apiVersion": _API,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": attachment(asked, tenant), "namespace": tenant},
        "spec": {"spec": {"devices": devices}},
    }
    return Item(asked.comment(), body)
