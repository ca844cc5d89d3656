"""Ports at which jobs are joined that a manifest opens to more than the cluster's pods."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.fabric.manifests.codes import noted
from ringfence.fabric.manifests.pods import Object, Pod, text
from ringfence.policy.fabric_lint import RENDEZVOUS, TAKEN_OVER_BY
from ringfence.policy.findings import Finding

_OUTSIDE = frozenset({"NodePort", "LoadBalancer"})


def of_service(one: Object) -> Iterator[Finding]:
    """RF6111: a service that the outside reaches, to such a port."""
    spec = one.node.child("spec") or one.node
    how = text(spec.child("type"))
    if one.kind != "Service" or (how not in _OUTSIDE and not list(spec.items("externalIPs"))):
        return
    for _, port in spec.items("ports"):
        numbers = {text(port.child(name)) for name in ("port", "targetPort")}
        for number in sorted(RENDEZVOUS):
            if str(number) in numbers:
                told = f"{one} ({how or 'externalIPs'}) opens port {number}: {TAKEN_OVER_BY[number]}"
                yield noted("RF6111", port.origin, told)


def of_pod(pod: Pod) -> Iterator[Finding]:
    """RF6111: a port of the node that leads to such a one."""
    for container in pod.containers:
        for _, port in container.items("ports"):
            number = port.child("containerPort")
            if port.child("hostPort") is not None and number is not None and number.scalar in RENDEZVOUS:
                told = f"{pod.owner} opens port {number.scalar} on the node: {TAKEN_OVER_BY[int(number.scalar)]}"
                yield noted("RF6111", port.origin, told)
