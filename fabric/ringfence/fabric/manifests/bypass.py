"""Annotations that take traffic out of the proxies, held against grants; and second interfaces that a sidecar takes.

To leave the proxies is a privilege. A grant gives it for one fabric: for its interface and its networks, until its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network

from ringfence.certs.selectors import Selector
from ringfence.fabric.manifests.codes import noted
from ringfence.fabric.manifests.knobs import EXCLUDE_INTERFACES, KNOBS, Takes
from ringfence.fabric.manifests.pods import Pod
from ringfence.policy.fabrics import Fabric
from ringfence.policy.findings import Finding
from ringfence.policy.model import Model, Workload
from ringfence.policy.scope import matches

_PRIMARY = frozenset({"eth0", "lo", ""})
_INJECT, _MODE = "sidecar.istio.io/inject", "sidecar.istio.io/interceptionMode"


def of_pod(pod: Pod, model: Model | None, now: datetime) -> Iterator[Finding]:
    """RF6106 and RF6107: a knob of a pod without a grant in force, or one that takes more than the grants are for."""
    granted = fabrics_of(pod, model, now) if model is not None else ()
    for key, knob in KNOBS.items():
        value = pod.noted(key)
        if value is None or not knob.turned(value):
            continue
        told = f"{pod.owner} has {key}: {value or repr('')}"
        if not granted:
            yield noted("RF6106", pod.place(key), f"{told}, as service account {pod.account}")
        elif wider := _wider(pod, knob.takes, value, granted):
            names = " and ".join(fabric.key for fabric in granted)
            yield noted("RF6107", pod.place(key), f"{told}, and its grants are for {names}, not for {wider}")


def captured(pod: Pod, injected: frozenset[str]) -> Iterator[Finding]:
    """RF6110: a pod with a second interface and a sidecar that leaves none alone; *injected* namespaces give one."""
    second, inject = pod.second_interface, pod.noted(_INJECT)
    has_sidecar = inject == "true" or (inject is None and pod.owner.namespace in injected)
    left_alone = pod.noted(EXCLUDE_INTERFACES) or pod.noted(_MODE) == "NONE"
    if second and has_sidecar and not left_alone:
        yield noted("RF6110", pod.place(second), f"{pod.owner} has {second} and a sidecar of Istio")


def fabrics_of(pod: Pod, model: Model, now: datetime) -> tuple[Fabric, ...]:
    """Those that grants in force let the pod's workload use; a pod is whoever its service account is."""
    workloads = [one for one in model.workloads.values() if _is(pod, one)]
    keys = {
        grant.fabric
        for grant in model.fabric_grants.values()
        if grant.in_force(now)
        for workload in workloads
        if any(matches(source, workload.identity, model.mesh.trust_domain) for source in grant.sources)
    }
    return tuple(model.fabrics[key] for key in sorted(keys))


def _is(pod: Pod, workload: Workload) -> bool:
    """By its selectors of Kubernetes where it has any, else by its name."""
    facts = {Selector("k8s", f"ns:{pod.owner.namespace}"), Selector("k8s", f"sa:{pod.account}")}
    asked = [{one for one in sets if one.kind == "k8s"} for sets in workload.match]
    if any(asked):
        return any(sets and sets <= facts for sets in asked)
    return workload.key == f"{pod.owner.namespace}/{pod.account}"


def _wider(pod: Pod, takes: Takes, value: str, granted: tuple[Fabric, ...]) -> str:
    """What of *value* no fabric that was granted has; empty where all of it is one's."""
    listed = [part.strip() for part in value.split(",")]
    match takes:
        case Takes.NETWORKS:
            outside = [part for part in listed if not any(_within(part, fabric) for fabric in granted)]
        case Takes.INTERFACES:
            outside = [part for part in listed if not _is_second(pod, part, granted)]
        case _:
            return str(takes.value)
    return ", ".join(outside)


def _is_second(pod: Pod, interface: str, granted: tuple[Fabric, ...]) -> bool:
    """An interface that a fabric's document names, or one in the pod beside its first: names in there are the CNI's."""
    if interface in _PRIMARY:
        return False
    return bool(pod.second_interface) or any(one.takes(interface) for fabric in granted for one in fabric.interfaces)


def _within(text: str, fabric: Fabric) -> bool:
    try:
        network = ip_network(text)
    except ValueError:
        return False
    return any(_subnet(network, ip_network(cidr)) for cidr in fabric.cidrs)


def _subnet(network: IPv4Network | IPv6Network, of: IPv4Network | IPv6Network) -> bool:
    return network.version == of.version and network.subnet_of(of)  # type: ignore[arg-type]
