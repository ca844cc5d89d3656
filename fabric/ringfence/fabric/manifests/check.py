"""All checks over manifests together: texts in, findings out by file and place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ringfence.fabric.manifests import bypass, devices, exposed
from ringfence.fabric.manifests.opensm import open_default
from ringfence.fabric.manifests.partitions import shared_devices, shared_partitions
from ringfence.fabric.manifests.pods import Object, objects, pods, text
from ringfence.policy.findings import Finding, Findings
from ringfence.policy.model import Model
from ringfence.policy.tree import read_trees

MANIFESTS = (".yaml", ".yml", ".json")  # all else is a file of opensm's


def check(
    texts: Iterable[tuple[str, str]], model: Model | None, now: datetime, without: frozenset[str] = frozenset()
) -> tuple[Finding, ...]:
    """What is found in *texts*, pairs of path and text; without a *model* there are no grants.

    Objects of the namespaces *without* are left out. What cannot be read is an error of its own (RF10..).
    """
    unread = Findings()
    found: list[Finding] = []
    held: list[Object] = []
    for path, told in texts:
        if path.endswith(MANIFESTS):
            trees = read_trees(path, told, unread)
            held += [one for tree in trees for one in objects(tree) if one.namespace not in without]
        else:
            found += open_default(path, told)
    injected = frozenset(one.name for one in held if _injected(one))
    for one in held:
        found += _of_object(one, model, now, injected)
    found += shared_partitions(held)
    return tuple(sorted({*found, *unread.found}, key=lambda f: (f.path, f.line, f.column, f.code, f.message)))


def _of_object(one: Object, model: Model | None, now: datetime, injected: frozenset[str]) -> Iterator[Finding]:
    yield from devices.of_secret(one)
    yield from exposed.of_service(one)
    yield from shared_devices(one)
    for pod in pods(one):
        yield from devices.of_pod(pod)
        yield from exposed.of_pod(pod)
        yield from bypass.of_pod(pod, model, now)
        yield from bypass.captured(pod, injected)


def _injected(one: Object) -> bool:
    """A namespace whose pods get a sidecar of Istio."""
    labels = (one.node.child("metadata") or one.node).child("labels")
    return one.kind == "Namespace" and labels is not None and text(labels.child("istio-injection")) == "enabled"
