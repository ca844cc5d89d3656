"""Means to take a fabric over: devices of the subnet manager, privileges, the node's network, an unverified manager."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.fabric.manifests.codes import noted
from ringfence.fabric.manifests.pods import DEVICES, Object, Pod, text
from ringfence.policy.findings import Finding

_MANAGERS = (f"{DEVICES}/issm", f"{DEVICES}/umad")
_AROUND = frozenset({"/", "/dev", DEVICES})


def of_pod(pod: Pod) -> Iterator[Finding]:
    """RF6101 to RF6103; what is said of RDMA only where the pod uses it."""
    why = pod.rdma
    for path, origin in pod.host_paths if why else ():
        if path in _AROUND or path.startswith(_MANAGERS):
            yield noted("RF6101", origin, f"{pod.owner} mounts {path}")
    for container in pod.containers if why else ():
        privileged = (container.child("securityContext") or container).child("privileged")
        if privileged is not None and privileged.scalar is True:
            name = text(container.child("name"))
            yield noted("RF6102", privileged.origin, f"container {name} of {pod.owner} is privileged, and {why}")
    network = pod.spec.child("hostNetwork")
    if why and network is not None and network.scalar is True:
        yield noted("RF6103", network.origin, f"{pod.owner} has hostNetwork, and {why}")


def of_secret(one: Object) -> Iterator[Finding]:
    """RF6105: a secret by which ib-kubernetes reaches UFM."""
    if one.kind != "Secret":
        return
    kinds = (one.node.child(kind) for kind in ("data", "stringData"))
    held = {key for kind in kinds if kind is not None and isinstance(kind.entries, dict) for key in kind.entries}
    if "UFM_ADDRESS" in held and "UFM_CERTIFICATE" not in held:
        yield noted("RF6105", one.node.origin, f"{one} has UFM_ADDRESS and no UFM_CERTIFICATE")
