"""Pods as manifests describe them: in a Pod, or as the template of whatever makes pods, of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ringfence.policy.model import Origin
from ringfence.policy.tree import Node

NETWORKS = "k8s.v1.cni.cncf.io/networks"  # of Multus
GKE_INTERFACES = "networking.gke.io/interfaces"
_RDMA = re.compile(r"rdma|infiniband|mlnx|roce|(?:^|[^a-z])(?:ib|efa|hca)(?:[^a-z]|$)")
_VARIABLES = frozenset({"NCCL_IB_HCA", "UCX_NET_DEVICES", "FI_PROVIDER"})
DEVICES = "/dev/infiniband"


@dataclass(frozen=True, slots=True)
class Object:
    """One object of Kubernetes; one without a namespace is in `default`, where kubectl would put it."""

    kind: str
    namespace: str
    name: str
    node: Node

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod or the template of one."""

    owner: Object
    metadata: Node
    spec: Node

    @property
    def account(self) -> str:
        """The service account that it runs as."""
        return text(self.spec.child("serviceAccountName")) or "default"

    @property
    def containers(self) -> Iterator[Node]:
        """All of them, those of the start too."""
        for kind in ("initContainers", "containers"):
            yield from (one for _, one in self.spec.items(kind))

    def noted(self, key: str) -> str | None:
        """The annotation, or the label, of that key."""
        for kind in ("annotations", "labels"):
            found = (self.metadata.child(kind) or self.metadata).child(key)
            if found is not None and found.entries is None:
                return text(found)
        return None

    def place(self, key: str) -> Origin:
        """Where that annotation or label is."""
        kinds = (self.metadata.child(kind) for kind in ("annotations", "labels"))
        held = next((one for one in kinds if one is not None and one.child(key) is not None), self.metadata)
        return held.key_at(key)

    @property
    def second_interface(self) -> str:
        """The annotation that brings it more than its first interface; empty where none does."""
        return next((key for key in (NETWORKS, GKE_INTERFACES) if self.noted(key)), "")

    @property
    def rdma(self) -> str:
        """Why it is taken for one that uses RDMA; empty where nothing says so."""
        for container in self.containers:
            for kind in ("limits", "requests"):
                resources = (container.child("resources") or container).child(kind)
                named = resources.entries if resources is not None else None
                for name in named if isinstance(named, dict) else ():
                    if _RDMA.search(name.lower()):
                        return f"it asks for {name}"
            for _, variable in container.items("env"):
                if (name := text(variable.child("name"))) in _VARIABLES:
                    return f"it sets {name}"
        mounted = next((path for path, _ in self.host_paths if path.startswith(DEVICES)), "")
        return f"it mounts {mounted}" if mounted else ""

    @property
    def host_paths(self) -> Iterator[tuple[str, Origin]]:
        """Paths of the node that it mounts, without a slash at the end."""
        for _, volume in self.spec.items("volumes"):
            path = (volume.child("hostPath") or volume).child("path")
            if path is not None and text(path).startswith("/"):
                yield text(path).rstrip("/") or "/", path.origin


def text(node: Node | None) -> str:
    """A scalar as text, booleans as YAML has them; nothing for anything else."""
    if node is None or node.scalar is None:
        return ""
    return str(node.scalar).lower() if isinstance(node.scalar, bool) else str(node.scalar)


def objects(tree: Node) -> Iterator[Object]:
    """The object that a document is, or those of a List."""
    kind = text(tree.child("kind"))
    listed = [one for _, one in tree.items("items")] if kind.endswith("List") else []
    for one in listed or [tree]:
        metadata = one.child("metadata") or one
        namespace = text(metadata.child("namespace")) or "default"
        yield Object(text(one.child("kind")), namespace, text(metadata.child("name")), one)


def pods(owner: Object) -> Iterator[Pod]:
    """Every pod and template in it: whatever has a `spec` with `containers`."""
    for node in owner.node.walk():
        spec = node.child("spec")
        containers = spec.child("containers") if spec is not None else None
        if spec is not None and containers is not None and isinstance(containers.entries, list):
            yield Pod(owner, node.child("metadata") or Node(spec.origin, entries={}), spec)
